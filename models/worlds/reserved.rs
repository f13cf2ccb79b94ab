//! A record that a producer has reserved, for rings whose reservations borrow their producer.

/// `Reserved`, over the `Producer` and the `Reservation` in scope.
macro_rules! reserved {
    () => {
        type Record<'p> = Option<Reservation<'p>>;

        self_cell::self_cell! {
            /// Who has reserved a record, and goes with its process: with the producer that the record borrows. `into_owner` gives
            /// the record up.
            pub struct Reserved {
                owner: self_cell::MutBorrow<Producer>,
                #[not_covariant]
                dependent: Record,
            }
        }

        impl Reserved {
            /// Reserves a record of so many bytes.
            pub fn of(producer: Producer, kind: u32, len: usize) -> Self {
                Self::new(self_cell::MutBorrow::new(producer), |producer| {
                    Some(producer.borrow_mut().reserve(kind, len).expect("room"))
                })
            }

            /// Fills it from its start.
            pub fn write(&mut self, bytes: &[u8]) {
                self.with_dependent_mut(|_, record| record.as_mut().expect("reserved").write(0, bytes));
            }

            /// Commits it. What is left is dropped when its process has ended.
            pub fn commit(mut self) -> Self {
                self.with_dependent_mut(|_, record| record.take().expect("reserved").commit().expect("no fork"));
                self
            }
        }
    };
}

pub(super) use reserved;
