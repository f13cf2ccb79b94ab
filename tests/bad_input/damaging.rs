//! Rings of many producers whose records are one stream: making and opening them, and using damaged ones.

/// For a module that uses a ring's `Ring`, `Config`, `Producer` and `Consumer`: the kind of its segments, and where the consumer's seat
/// lies there. Other names are those of `image`, `row`, `ownerdead::segment` and `std::time`.
macro_rules! damaging {
    ($kind:expr, $seat:expr) => {
        fn asked_for(config: Config) -> Got {
            Got::error(Ring::memfd(&Options::new(), &config))
        }

        fn honest() -> Ring {
            Ring::memfd(&Options::new().slots(2), &Config::new(512)).unwrap()
        }

        /// What `open_or_create` says of a ring that exists with other settings.
        fn differs(name: &Name, config: Config) -> Got {
            let _ring = Ring::create(name.as_str(), &Options::new(), &Config::new(512)).unwrap();
            Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &config))
        }

        /// Opens a ring in which a word was changed; a handle that was open before is not impressed.
        fn opened(at: u64, value: u64) -> Got {
            let ring = honest();
            Image::of(ring.segment()).poke(at, value);
            let again = Segment::from_fd(descriptor(ring.segment()), $kind).unwrap();
            let got = Got::error(Ring::from_segment(again));
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            producer.try_push(9, b"more").unwrap();
            assert_eq!(ring.consumer(&me).unwrap().into_inner().try_pop(&mut Vec::new()), Ok(9));
            got
        }

        /// What is said of a ring with two records in which a word was changed. Put back, it is whole.
        fn damaged(
            at: u64,
            value: u64,
            does: impl FnOnce(&Ring, &mut Producer, Option<Consumer>) -> Got,
            opened: bool,
        ) -> Got {
            let ring = honest();
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            let consumer = opened.then(|| ring.consumer(&me).unwrap().into_inner());
            producer.push(1, b"one").unwrap();
            producer.push(2, b"two").unwrap();
            let image = Image::of(ring.segment());
            let mut whole = image.bytes();
            image.poke(at, value);
            let got = does(&ring, &mut producer, consumer);
            // The seat is vacant by now.
            whole[$seat as usize..][..8].fill(0);
            image.restore(&whole, body(2));
            let mut consumer = ring.consumer(&me).unwrap().into_inner();
            let mut bytes = Vec::new();
            assert_eq!((consumer.try_pop(&mut bytes), bytes.as_slice()), (Ok(1), &b"one"[..]));
            producer.try_push(3, b"three").unwrap();
            got
        }

        const LONG: Duration = Duration::from_secs(5);

        fn pops(at: u64, value: u64) -> Got {
            damaged(at, value, |_, _, consumer| Got::error(consumer.unwrap().pop_timeout(&mut Vec::new(), LONG)), true)
        }

        fn pushes(at: u64, value: u64) -> Got {
            damaged(at, value, |_, producer, _| Got::error(producer.push_timeout(3, b"three", LONG)), true)
        }

        fn opens(at: u64, value: u64) -> Got {
            let open = |ring: &Ring, _: &mut Producer, _| Got::error(ring.consumer(&ring.attach().unwrap()));
            damaged(at, value, open, false)
        }
    };
}
pub(crate) use damaging;
