//! A whole crew is struck at once: several killed together, a process group, or stops and kills all mixed.

use super::crew::{Crew, GROUPS, PEOPLE};
use crate::plan::{Aims, strikes};
use crate::stage::Stage;
use std::time::Duration;

/// Rounds between two looks at all that is left.
const LOOK: u64 = 64;

pub fn at_once(stage: &mut Stage) {
    work(stage, Aims::Several, Duration::from_micros(600));
}

pub fn storm(stage: &mut Stage) {
    work(stage, Aims::Storm, Duration::from_micros(600));
}

fn work(stage: &mut Stage, aims: Aims, most: Duration) {
    let mut crew = Crew::new(stage);
    for round in 1.. {
        if !stage.goes_on() {
            break;
        }
        let plan = strikes(&mut stage.rng, aims, PEOPLE, GROUPS, most);
        crew.round(stage, &plan, &|| ());
        if round % LOOK == 0 {
            crew.end(stage);
        }
    }
    crew.end(stage);
}
