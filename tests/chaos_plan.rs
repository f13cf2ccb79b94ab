//! What the chaos layer decides follows from its seed.
#![cfg(not(model))]

#[path = "../chaos/plan.rs"]
mod plan;

use plan::{Aims, Blow, Strike, dice, strikes};
use std::time::Duration;

/// The blows of some rounds.
fn plan(seed: u64, rounds: impl IntoIterator<Item = u64>) -> Vec<Vec<Strike>> {
    let round = |round: u64| {
        let aims = if round.is_multiple_of(2) { Aims::Several } else { Aims::Storm };
        strikes(&mut dice(seed, round), aims, 5, 2, Duration::from_micros(500))
    };
    rounds.into_iter().map(round).collect()
}

#[test]
fn two_plans_from_one_seed_are_equal() {
    assert_eq!(plan(7, 0..500), plan(7, 0..500));
}

#[test]
fn a_round_is_the_same_whether_or_not_others_came_before_it() {
    assert_eq!(plan(7, 400..401), plan(7, 0..500)[400..401]);
}

#[test]
fn plans_from_two_seeds_differ_and_so_do_two_rounds() {
    assert_ne!(plan(7, 0..10), plan(8, 0..10));
    let rounds = plan(7, 0..500);
    assert!((1..500).all(|index| rounds[index] != rounds[index - 1]));
}

#[test]
fn nobody_is_struck_after_its_kill_and_every_blow_occurs() {
    let (mut kills, mut groups, mut stops, mut goings) = (0, 0, 0, 0);
    for strikes in plan(7, 0..500) {
        let mut dead = [false; 5];
        for strike in strikes {
            let who = match strike.blow {
                Blow::KillGroup(group) => {
                    assert!(group < 2);
                    groups += 1;
                    continue;
                }
                Blow::Kill(who) => {
                    kills += 1;
                    assert!(!std::mem::replace(&mut dead[who], true), "killed twice");
                    continue;
                }
                Blow::Stop(who) => (stops += 1, who).1,
                Blow::GoOn(who) => (goings += 1, who).1,
            };
            assert!(!dead[who], "struck when it was dead");
        }
    }
    assert!([kills, groups, stops, goings].iter().all(|&count| count > 50), "{kills} {groups} {stops} {goings}");
}
