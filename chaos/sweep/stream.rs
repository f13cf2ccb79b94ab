//! What sweeps of rings share whose records are one stream, numbered from 1 on, and whose sides may be given up: operations by the names that
//! those rings have for them.

/// A side that the victim has.
pub fn own<T>(side: &mut Option<T>) -> &mut T {
    side.as_mut().expect("the side that the operation is of")
}

/// One record, by `push`; it may be refused.
macro_rules! pushes {
    ($victim:ident, $facts:ident, |$producer:ident, $kind:ident, $bytes:ident| $push:expr) => {{
        let records = records($facts);
        let (number, (bytes, len)) = ($victim.number, &$victim.payload);
        let ($producer, $kind, $bytes) = (own(&mut $victim.producer), number as u32, &bytes[..*len]);
        records.push(number);
        match $push {
            Ok(_) => records.pushed(number),
            Err(_) => records.push(number - 1),
        }
    }};
}
pub(crate) use pushes;

/// One record, by `pop`; there may be none.
macro_rules! pops {
    ($victim:ident, $facts:ident, |$consumer:ident, $bytes:ident| $pop:expr) => {{
        let records = records($facts);
        records.read_unseen();
        let ($consumer, $bytes) = (own(&mut $victim.consumer), &mut $victim.bytes);
        if let Ok(number) = $pop {
            records.committed(number.into());
        }
    }};
}
pub(crate) use pops;

/// The operations of a subject's sides, where its module has `Victim`, `payload`, `records` and the state `NoBatch`.
macro_rules! stream_operations {
    (of $subject:ty) => {
        crate::case::operations! {
            of $subject;
            try_push(_s, victim, facts) { pushes!(victim, facts, |producer, kind, bytes| producer.try_push(kind, bytes)) }
            push_blocking(_s, victim, facts) { pushes!(victim, facts, |producer, kind, bytes| producer.push(kind, bytes)) }
            push_timeout(_s, victim, facts) {
                let timeout = victim.timeout.unwrap_or(Duration::MAX);
                pushes!(victim, facts, |producer, kind, bytes| producer.push_timeout(kind, bytes, timeout))
            }
            reserve(_s, victim, facts) {
                pushes!(victim, facts, |producer, kind, bytes| {
                    producer.reserve(kind, bytes.len()).and_then(|mut reservation| {
                        reservation.write(0, &bytes[..5]);
                        reservation.write(5, &bytes[5..]);
                        reservation.commit()
                    })
                })
            }
            reserve_and_drop(_s, victim, _facts) {
                let (bytes, len) = &victim.payload;
                if let Ok(mut reservation) = own(&mut victim.producer).reserve(1, *len) {
                    reservation.write(0, &bytes[..*len]);
                }
            }
            push_batch(subject, victim, facts) {
                let records = records(facts);
                let first = victim.number;
                let [second, third] = [first + 1, first + 2].map(payload);
                let all = [(first, &victim.payload), (first + 1, &second), (first + 2, &third)];
                let most = if subject.is == NoBatch { 0 } else { all.len() };
                let batch = all[..most].iter().map(|&(number, (bytes, len))| (number as u32, &bytes[..*len]));
                records.push(first + 2);
                let count = own(&mut victim.producer).push_batch(batch).unwrap_or(0) as u64;
                records.push(first - 1 + count);
                records.pushed(first - 1 + count);
            }
            wait_consumer(_s, victim, _facts) { let _ = own(&mut victim.producer).wait_consumer(victim.timeout); }
            try_pop(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| consumer.try_pop(bytes)) }
            pop_blocking(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| consumer.pop(bytes)) }
            pop_timeout(_s, victim, facts) {
                let timeout = victim.timeout.unwrap_or(Duration::MAX);
                pops!(victim, facts, |consumer, bytes| consumer.pop_timeout(bytes, timeout))
            }
            peek(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| crate::records::consumed!(consumer, bytes)) }
            pop_batch(subject, victim, facts) {
                let records = records(facts);
                let due = records.due();
                records.may_be_read.set(records.ended.get().min(due + 1).max(records.may_be_read.get()));
                let most = if subject.is == NoBatch { 0 } else { 2 };
                let count = own(&mut victim.consumer).pop_batch(most, |_, _| {}).unwrap_or(0) as u64;
                records.committed(due - 1 + count);
            }
            discard(_s, victim, facts) {
                let records = records(facts);
                records.may_be_read.set(records.ended.get());
                let _ = own(&mut victim.consumer).discard();
                records.committed(records.ended.get());
            }
        }
    };
}
pub(crate) use stream_operations;
