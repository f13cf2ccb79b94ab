//! What the worlds of MPSC rings have in common.

/// For a module that uses a ring's `Ring`, `Config`, `Producer`, `Consumer` and errors, and has `size`: how many bytes a record of so many
/// units has; and `serve`: what the thread of the consumer's bell does, until it is dropped or earlier.
macro_rules! at_an_mpsc_ring {
    () => {
        pub const SECOND: Duration = Duration::from_secs(1);

        /// What must hold of each producer's records: of two, and of one that comes before them, or back. It is no shared memory: a death leaves
        /// it as it is.
        #[derive(Default)]
        pub struct Oracle(pub [Records<Cell<u64>, Cell<u64>>; 3]);

        /// A record says whose it is, which, and of how many units.
        fn kind(who: usize, number: u64, units: usize) -> u32 {
            (units as u32) << 16 | (who as u32) << 8 | number as u32
        }

        pub fn payload(kind: u32) -> Vec<u8> {
            vec![(16 * who(kind)) as u8 + number(kind) as u8; size((kind >> 16) as usize)]
        }

        impl Oracle {
            /// The next record of `who`.
            pub fn begin(&self, who: usize, units: usize) -> u32 {
                let number = self.0[who].begun.get() + 1;
                self.0[who].push(number);
                kind(who, number, units)
            }

            pub fn ended(&self, kind: u32) {
                self.0[who(kind)].pushed(number(kind));
            }

            pub fn push(&self, who: usize, producer: &mut Producer, units: usize) -> Result<(), PushError> {
                let kind = self.begin(who, units);
                let pushed = producer.push(kind, &payload(kind));
                match pushed {
                    Ok(()) => self.ended(kind),
                    // It was not pushed, and may be once more.
                    Err(_) => self.0[who].push(number(kind) - 1),
                }
                pushed
            }

            /// The same, through the deaths of consumers, until none comes any more.
            pub fn push_on(&self, who: usize, ring: &Ring, producer: &mut Producer, units: usize) {
                while let Err(error) = self.push(who, producer, units) {
                    assert_eq!(error, PushError::ConsumerDied);
                    match producer.wait_consumer(Some(SECOND)) {
                        Ok(()) => {}
                        Err(WaitPeerError::TimedOut) => {
                            let state = ring.status().consumer.state;
                            assert!(matches!(state, SeatState::Dead(_)), "forgotten: {state:?}");
                            return;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }

            pub fn pop(&self, consumer: &mut Consumer) -> u32 {
                let mut bytes = Vec::new();
                let before = self.0.each_ref().map(|records| records.may_be_read.get());
                self.0.iter().for_each(Records::read_unseen);
                let kind = consumer.pop(&mut bytes).expect("an honest ring");
                // It is seen now.
                self.0.iter().zip(before).for_each(|(records, before)| records.may_be_read.set(before));
                self.arrived(kind, &bytes);
                self.committed(kind);
                kind
            }

            /// What there is now, looked at before it is committed as read.
            pub fn look(&self, consumer: &mut Consumer) -> Option<u32> {
                let peek = match consumer.peek() {
                    Ok(peek) => peek,
                    Err(TryPopError::Empty) => return None,
                    Err(error) => panic!("{error}"),
                };
                let (mut bytes, kind) = (Vec::new(), peek.kind());
                peek.copy_to(&mut bytes).expect("whole");
                self.arrived(kind, &bytes);
                peek.consume();
                self.committed(kind);
                Some(kind)
            }

            pub fn arrived(&self, kind: u32, bytes: &[u8]) {
                let judged = self.0[who(kind)].arrived(number(kind), bytes == payload(kind));
                judged.unwrap_or_else(|violation| panic!("{violation}"));
            }

            pub fn committed(&self, kind: u32) {
                self.0[who(kind)].committed(number(kind));
            }

            pub fn all_arrived(&self) {
                for records in &self.0 {
                    records.all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
                }
            }

            pub fn next_reader(&self) {
                self.0.iter().for_each(Records::next_reader);
            }
        }

        pub fn who(kind: u32) -> usize {
            (kind >> 8 & 0xff) as usize
        }

        pub fn number(kind: u32) -> u64 {
            (kind & 0xff).into()
        }

        pub fn producer(ring: &Ring) -> Producer {
            ring.producer(&ring.attach().expect("a free slot")).expect("an honest ring").into_inner()
        }

        pub fn consumer(ring: &Ring) -> Consumer {
            ring.consumer(&ring.attach().expect("a free slot")).expect("nobody alive has the seat").into_inner()
        }

        /// A ring is full of two records of `long` units, and two wait for room for one of one unit: `waiting`. `c` reads a record; should it
        /// die, it comes back and does so again.
        pub fn full(world: &mut World, config: &Config, long: usize, waiting: [&'static str; 2]) {
            let ring = Ring::private(config, 4);
            let oracle = Rc::new(Oracle::default());
            // They come first, and sleep before `c` comes, where nothing else is said.
            for (who, name) in waiting.into_iter().enumerate() {
                let (open, look, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
                world.process_after(
                    name,
                    move || producer(&open),
                    move |mut producer| {
                        o.push_on(who, &look, &mut producer, 1);
                        producer
                    },
                );
            }
            let (open, back, fill) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
            let (o, o2) = (Rc::clone(&oracle), Rc::clone(&oracle));
            world
                .process_after(
                    "c",
                    move || {
                        let me = open.attach().expect("a free slot");
                        let mut producer = open.producer(&me).expect("an honest ring").into_inner();
                        for _ in 0..2 {
                            fill.push(2, &mut producer, long).expect("room for two");
                        }
                        open.consumer(&me).expect("a vacant seat").into_inner()
                    },
                    move |mut consumer| {
                        o.look(&mut consumer).expect("two are there");
                        consumer
                    },
                )
                .restarts(move || {
                    let opened = back.consumer(&back.attach().expect("a free slot")).expect("a dead one's seat");
                    assert!(opened.owner_died() && back.status().consumer.generation == 1);
                    o2.next_reader();
                    let mut consumer = opened.into_inner();
                    o2.look(&mut consumer).expect("one is there still");
                    consumer
                });
        }

        /// The thread of the consumer's bell, `w`, before others at this ring come.
        pub fn add_watcher(world: &mut World, ring: &Ring) -> Bell {
            let (open, ring) = (ring.clone(), ring.clone());
            add_bell(world, "w", move || open.attach().expect("a free slot"), move |me, until| serve(&ring, me, until))
        }

        /// Two push a record each, of so many units, and `c` pops until it has that of the second one, and drops its bell.
        pub fn two_producers(
            world: &mut World,
            ring: &Ring,
            names: [&'static str; 2],
            units: [usize; 2],
            bell: Option<Bell>,
        ) {
            let oracle = Rc::new(Oracle::default());
            let first = Rc::new(Cell::new(false));
            // It comes first, and sleeps before they do.
            let (open, seen, was) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&first));
            world.process_after(
                "c",
                move || consumer(&open),
                move |mut consumer| {
                    while who(seen.pop(&mut consumer)) != 1 {}
                    if was.get() {
                        seen.all_arrived();
                    }
                    if let Some(bell) = bell {
                        bell.stop();
                    }
                    consumer
                },
            );
            for (who, (name, units)) in names.into_iter().zip(units).enumerate() {
                let (open, o, first) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&first));
                world.process_after(
                    name,
                    move || producer(&open),
                    move |mut producer| {
                        if who == 1 {
                            first.set(o.0[0].ended.get() == 1);
                        }
                        o.push(who, &mut producer, units).expect("the consumer lives");
                        producer
                    },
                );
            }
        }
    };
}
pub(super) use at_an_mpsc_ring;
