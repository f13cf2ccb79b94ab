//! Sleeping until a newer value comes, or the writer dies, or somebody takes its seat: see `owner::seat_wait`.

use super::place::{Cells, Control};
use super::{Corrupt, Versioned, WaitError, WaitWriterError};
use crate::data::Data;
use crate::owner::{AtSeat, Attachment, Stop};
use crate::sync::time;
use core::time::Duration;

fn at<'a>(control: &'a Control, me: &'a Attachment, deadline: Option<Duration>) -> AtSeat<'a> {
    AtSeat { me, seat: &control.seat, gate: &control.gate, deadline, interrupt: None }
}

impl<T: Data> Cells<T> {
    pub(super) fn wait_change(
        &self,
        me: &Attachment,
        key: usize,
        seen: u64,
        timeout: Option<Duration>,
    ) -> Result<Versioned<T>, WaitError> {
        let control = self.existing(key)?;
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(WaitError::WrongSegment);
        }
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        // A number that no sequence can have is not the present one.
        if let Some(seen) = seen.checked_mul(2) {
            at(control, me, deadline).until_moved(&control.sequence, seen, Corrupt::right).map_err(
                |stop| match stop {
                    Stop::HolderDied => WaitError::WriterDied,
                    Stop::TimedOut => WaitError::TimedOut,
                    Stop::Corrupt(corrupt) => corrupt.into(),
                },
            )?;
        }
        Ok(self.read(key)?)
    }

    pub(super) fn wait_writer(
        &self,
        me: &Attachment,
        key: usize,
        timeout: Option<Duration>,
    ) -> Result<(), WaitWriterError> {
        let Some(control) = self.control(key) else {
            return Err(WaitWriterError::NoSuchKey { key, keys: self.controls.len() });
        };
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(WaitWriterError::WrongSegment);
        }
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        at(control, me, deadline).until_taken(Corrupt::right).map_err(|stop| match stop {
            Stop::TimedOut => WaitWriterError::TimedOut,
            Stop::Corrupt(corrupt) => corrupt.into(),
            Stop::HolderDied => unreachable!("it waits for the next writer"),
        })?;
        Ok(me.intact()?)
    }
}
