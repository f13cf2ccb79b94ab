//! smoke
#[cfg(model)]
fn main() {}
#[cfg(not(model))]
fn main() {
    use ownerdead::harness::kill::*;
    use ownerdead::lock::*;
    use ownerdead::owner::Attachment;
    use ownerdead::segment::Options;
    ownerdead::shared_data! { struct Pair { left: u64, right: u64, } }
    struct Lock {
        mutex: RobustMutex<Pair>,
        memory: Memory,
    }
    impl Subject for Lock {
        type Victim<'s> = Attachment;
        type Survivor<'s> = Attachment;
        fn memory(&self) -> &Memory {
            &self.memory
        }
        fn attach(&self, _: &Facts) -> Attachment {
            self.mutex.attach().unwrap()
        }
        #[inline(never)]
        fn operation<'s>(&'s self, me: &mut Attachment, facts: &Facts) {
            let mut guard = self.mutex.lock(me).unwrap();
            facts.word(0).set(1);
            guard.left += 1;
            guard.right += 1;
            facts.word(0).set(2);
        }
        fn arrive(&self, _: &Facts) -> Attachment {
            self.mutex.attach().unwrap()
        }
        fn recover<'s>(&'s self, me: &mut Attachment, facts: &Facts) -> Result<&'static str, Finding> {
            match self.mutex.try_lock(me) {
                Ok(g) => {
                    if g.left != g.right {
                        return Err(Finding::torn("half"));
                    }
                    let _ = facts;
                    Ok("free")
                }
                Err(TryLockError::OwnerDied(d)) => {
                    let mut g = d.into_guard();
                    g.right = g.left;
                    g.mark_consistent();
                    Ok("owner died")
                }
                Err(e) => Err(Finding::stuck(e.to_string())),
            }
        }
        fn judge<'s>(&'s self, me: &mut Attachment, _: &Facts) -> Result<(), Finding> {
            match self.mutex.try_lock(me) {
                Ok(g) if g.left == g.right => Ok(()),
                Ok(_) => Err(Finding::torn("after")),
                Err(e) => Err(Finding::stuck(e.to_string())),
            }
        }
    }
    let mutex = RobustMutex::memfd(&Options::new().slots(4), Pair { left: 0, right: 0 }).unwrap();
    let memory = Memory::of(mutex.segment()).unwrap();
    println!("{} bytes", memory.len());
    let lock = Lock { mutex, memory };
    let t = std::time::Instant::now();
    let mut report = Sweep::new("lock", &lock).run().unwrap();
    println!("{:?}", t.elapsed());
    let places = std::mem::take(&mut report.places);
    for f in &mut report.found {
        f.image.clear();
    }
    println!("{report:#?}");
    let mut by = std::collections::BTreeMap::<String, Place>::new();
    for ((_, o), p) in places {
        let b = by.entry(o).or_default();
        b.deaths += p.deaths;
        b.second_deaths += p.second_deaths;
        b.planted += p.planted;
    }
    println!("{by:#?}");
}
