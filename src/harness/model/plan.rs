//! Plans of deaths, and how `OWNERDEAD_KILL` writes them.

use crate::sync::kernel::{self, Kill, When};

/// As `OWNERDEAD_KILL` takes them; the processes are those of this thread's last execution.
pub(super) fn name_kills(kills: &[Kill]) -> String {
    kills.iter().map(|kill| name_kill(kernel::name(kill.process), kill)).collect::<Vec<_>>().join(",")
}

fn name_kill(name: &str, kill: &Kill) -> String {
    let life = if kill.life > 0 { format!("#{}", kill.life) } else { String::new() };
    format!("{name}{life}@{}", kill.when)
}

/// A victim in one of its lives, awake and asleep: from a number to a death.
pub(super) fn deaths_of(process: usize, life: u32) -> [Box<dyn Fn(u32) -> Kill>; 2] {
    [
        Box::new(move |number| Kill { process, life, when: When::Before(number) }),
        Box::new(move |number| Kill { process, life, when: When::Asleep(number) }),
    ]
}
