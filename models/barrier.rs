//! Barriers under loom and shuttle, with parties that die at every operation.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::lock::{Arrival, Barrier, BarrierError, BarrierTimeoutError, Party};
use ownerdead::sync::cell::Granule;
use ownerdead::sync::shm::Shared;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const PARTIES: usize = 3;

/// What each seat writes before it arrives in a phase, to be read by all who come through.
type Papers = Shared<[Granule]>;

fn papers(phases: u32) -> Papers {
    Shared::from_vec((0..phases as usize * PARTIES).map(|_| Granule::new(0)).collect())
}

fn paper(papers: &Papers, seat: usize, phase: u32) -> &Granule {
    &papers[phase as usize * PARTIES + seat]
}

/// What must hold, whoever runs when. It is no shared memory: a process's death leaves it as it is.
#[derive(Default)]
struct Oracle {
    /// Waits that each seat has begun.
    begun: [Cell<u32>; PARTIES],
    /// Leaders of each phase.
    leaders: [Cell<u32>; 4],
}

/// Waits once for phase `phase`, and judges what comes of it. True if the phase was completed.
fn wait(party: &mut Party, barrier: &Barrier, oracle: &Oracle, papers: &Papers, phase: u32) -> bool {
    paper(papers, party.seat(), phase).store(7);
    come_through(party, barrier, oracle, papers, phase)
}

/// The same for one that has written already.
fn come_through(party: &mut Party, barrier: &Barrier, oracle: &Oracle, papers: &Papers, phase: u32) -> bool {
    let seat = party.seat();
    oracle.begun[seat].set(oracle.begun[seat].get() + 1);
    match party.wait() {
        Ok(arrival) => {
            let parties = barrier.status().parties;
            for (other, begun) in oracle.begun[..parties].iter().enumerate() {
                assert!(begun.get() > phase, "seat {seat} is through, and seat {other} has not come");
                assert_eq!(
                    paper(papers, other, phase).load(),
                    7,
                    "seat {seat} is through, and does not see what seat {other} wrote"
                );
            }
            let leaders = &oracle.leaders[phase as usize];
            leaders.set(leaders.get() + u32::from(arrival == Arrival::Leader));
            assert!(leaders.get() <= 1, "two leaders");
            true
        }
        Err(BarrierError::PartyDied { seat: dead }) => {
            assert_ne!(dead, seat, "told of its own death");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// A process that has a seat, and waits for `phases` phases, unless one is broken.
fn add_party(
    world: &mut World,
    name: &'static str,
    barrier: &Barrier,
    oracle: &Rc<Oracle>,
    papers: &Papers,
    phases: u32,
) {
    let (join, barrier, oracle, papers) = (barrier.clone(), barrier.clone(), Rc::clone(oracle), papers.clone());
    world.process_after(
        name,
        move || join.join(&join.attach().expect("a free slot")).expect("a seat"),
        move |mut party| {
            for phase in 0..phases {
                if !wait(&mut party, &barrier, &oracle, &papers, phase) {
                    break;
                }
            }
            party
        },
    );
}

fn everybody_waits(world: &mut World, names: &[&'static str], phases: u32) {
    let barrier = Barrier::private(names.len() + 1, names.len());
    let (oracle, papers) = (Rc::default(), papers(phases));
    for name in names {
        add_party(world, name, &barrier, &oracle, &papers, phases);
    }
}

#[test]
fn two_come_through_together_or_one_is_told_of_the_others_death() {
    Sweep::new("barrier_two").victims(&["a"]).preemptions(2, 2).runs(2_000).run(|world| {
        everybody_waits(world, &["a", "b"], 1);
    });
}

#[test]
fn two_come_through_again_and_again() {
    Sweep::new("barrier_again").victims(&["a"]).preemptions(1, 1).runs(2_000).run(|world| {
        everybody_waits(world, &["a", "b"], 2);
    });
}

#[test]
fn three_come_through_together_or_the_others_are_told_of_a_death() {
    Sweep::new("barrier_three").victims(&["a"]).preemptions(1, 0).full_preemptions(1, 1).runs(2_000).run(|world| {
        everybody_waits(world, &["a", "b", "c"], 1);
    });
}

/// Whoever arrives last, and is to wake the others, dies, and so does the one that is woken in its place.
#[test]
fn the_last_of_three_to_come_dies_and_the_one_that_is_woken() {
    Sweep::new("barrier_two_deaths")
        .victims(&["a", "b"])
        .two_deaths()
        .preemptions(0, 0)
        .full_preemptions(1, 0)
        .runs(1_000)
        .run(|world| {
            everybody_waits(world, &["a", "b", "c"], 1);
        });
}

/// Two have arrived, by a wait whose time was up at once, and wait again; the third one comes and dies, before it has woken them too.
#[test]
fn who_is_woken_for_a_dead_leader_wakes_the_others() {
    Sweep::new("barrier_dead_leader").victims(&["a"]).preemptions(1, 1).runs(2_000).run(|world| {
        let barrier = Barrier::private(4, 3);
        let oracle: Rc<Oracle> = Rc::default();
        let papers = papers(1);
        add_party(world, "a", &barrier, &oracle, &papers, 1);
        for name in ["b", "c"] {
            let (join, barrier, begun, oracle) =
                (barrier.clone(), barrier.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
            let (written, papers) = (papers.clone(), papers.clone());
            world.process_after(
                name,
                move || {
                    let mut party = join.join(&join.attach().expect("a free slot")).expect("a seat");
                    paper(&written, party.seat(), 0).store(7);
                    assert_eq!(party.wait_timeout(Duration::ZERO), Err(BarrierTimeoutError::TimedOut));
                    begun.begun[party.seat()].set(1);
                    party
                },
                move |mut party| {
                    come_through(&mut party, &barrier, &oracle, &papers, 0);
                    party
                },
            );
        }
    });
}

/// What a party wrote before it arrived is seen by all who are through.
#[test]
fn what_was_written_before_is_seen_after() {
    Sweep::new("barrier_publishes").preemptions(3, 3).runs(2_000).run(|world| {
        let barrier = Barrier::private(3, 2);
        let papers = Shared::from_vec(vec![Granule::new(0), Granule::new(0)]);
        for name in ["a", "b"] {
            let (join, papers) = (barrier.clone(), papers.clone());
            world.process_after(
                name,
                move || join.join(&join.attach().expect("a free slot")).expect("a seat"),
                move |mut party| {
                    papers[party.seat()].store(7);
                    party.wait().expect("nobody dies");
                    assert_eq!(papers[1 - party.seat()].load(), 7);
                    party
                },
            );
        }
    });
}

/// `a` dies; who comes after it takes its seat over, resets the barrier when the phase is broken, and all go on to the second phase.
#[test]
fn a_seat_is_taken_over_and_the_barrier_goes_on() {
    const PHASES: u32 = 2;
    Sweep::new("barrier_take_over").victims(&["a"]).preemptions(1, 1).runs(2_000).run(|world| {
        let barrier = Barrier::private(3, 2);
        let (join, again) = (barrier.clone(), barrier.clone());
        world
            .process_after(
                "a",
                move || join.join(&join.attach().expect("a free slot")).expect("a seat"),
                move |mut party| {
                    for _ in 0..PHASES {
                        party.wait().expect("the other one lives");
                    }
                    party
                },
            )
            .restarts(move || {
                let me = again.attach().expect("the slot of its former life");
                let mut party = again.join(&me).expect("the seat of its former life");
                assert!(party.owner_died(), "the dead one's seat, and not told");
                if again.status().broken_by.is_some() {
                    party.reset().expect("nobody else does");
                }
                while again.status().completed < PHASES {
                    party.wait().expect("the other one lives");
                }
                party
            });
        let join = barrier.clone();
        world.process_after(
            "b",
            move || join.join(&join.attach().expect("a free slot")).expect("a seat"),
            move |mut party| {
                let mut told = 0;
                for _ in 0..PHASES {
                    while let Err(error) = party.wait() {
                        assert_eq!(error, BarrierError::PartyDied { seat: 0 });
                        told += 1;
                        assert_eq!(told, 1, "told again of one death");
                    }
                }
                party
            },
        );
    });
}

/// After a time-out the arrival stands: who goes on waiting comes through with the others.
#[test]
fn an_arrival_outlasts_a_time_out() {
    Sweep::new("barrier_timeout").victims(&["a"]).preemptions(1, 1).runs(2_000).time_may_pass().run(|world| {
        let barrier = Barrier::private(3, 2);
        for (name, patient) in [("a", true), ("b", false)] {
            let join = barrier.clone();
            world.process_after(
                name,
                move || join.join(&join.attach().expect("a free slot")).expect("a seat"),
                move |mut party| {
                    let come_through = if patient {
                        party.wait()
                    } else {
                        match party.wait_timeout(Duration::from_secs(1)) {
                            Ok(arrival) => Ok(arrival),
                            Err(BarrierTimeoutError::TimedOut) => party.wait(),
                            Err(BarrierTimeoutError::PartyDied { seat }) => Err(BarrierError::PartyDied { seat }),
                            Err(error) => panic!("{error}"),
                        }
                    };
                    assert!(matches!(come_through, Ok(_) | Err(BarrierError::PartyDied { seat: 0 })));
                    party
                },
            );
        }
    });
}
