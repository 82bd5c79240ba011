//! Faults of the floor at run time: the red button, a jam, a PLC that restarts, a hand that reaches in.

use sortd::site::ChuteNo;
use sortd::wire::plc::{EVENT_WORDS, PlcEventKind};

use super::World;
use super::parcel::Place;

/// Reason field of *removed*: by hand, told at the panel.
const BY_HAND: u16 = 0;

impl World {
    /// The emergency stop is pressed: the belt stands at once.
    pub fn press_e_stop(&mut self) {
        self.with_plc(|plc, floor| plc.press_e_stop(floor));
    }

    /// The emergency stop is released and reset at the cabinet; the belt waits for a `run`.
    pub fn reset_e_stop(&mut self) {
        self.plc.reset_e_stop();
    }

    /// Something jams the belt, or was taken out; the PLC's bit stays until it is acknowledged.
    pub fn set_jam(&mut self, present: bool) {
        self.with_plc(|plc, floor| plc.set_jam(present, floor));
    }

    /// The jam is acknowledged at the cabinet; the belt waits for a `run`.
    pub fn acknowledge_jam(&mut self) {
        self.plc.acknowledge_jam();
    }

    /// The belt stops by itself, as after a local stop at the cabinet; it waits for a `run`.
    pub fn stop_belt(&mut self) {
        self.belt.stop(self.now_us);
    }

    /// The belt is started at the cabinet.
    pub fn start_belt(&mut self) {
        let flags = self.flags();
        if !flags.e_stop && !flags.jam {
            self.belt.run(self.now_us, 0);
            self.feed();
        }
    }

    /// The PLC restarts: new epoch, tracks forgotten; what lies on the belt runs to the exception chute.
    pub fn restart_plc(&mut self) {
        self.with_plc(|plc, floor| plc.restart(floor));
        self.forget_eye();
    }

    /// The PLC writes a record into its ring whose registers are these, whatever they mean; only the sequence
    /// behind them is right. False where the ring has no place for it.
    pub fn record_raw(&mut self, words: [u16; EVENT_WORDS as usize - 1]) -> bool {
        self.plc.record_raw(words)
    }

    /// Bits of the PLC's flags register that mean nothing are set, until told otherwise.
    pub fn set_stray_flags(&mut self, bits: u16) {
        self.plc.set_stray_flags(bits);
    }

    /// Disables or enables a chute at the PLC.
    pub fn set_chute_disabled(&mut self, chute: ChuteNo, disabled: bool) {
        self.plc.set_disabled(chute.0, disabled);
    }

    /// Someone presses the bag-change button of a chute now, whatever lies in it.
    pub fn change_bag(&mut self, chute: ChuteNo) {
        if self.chutes.empty_now(chute.0) {
            let encoder = self.pulses();
            self.plc.record(PlcEventKind::ChuteChanged { chute: chute.0 }, 0, encoder, 0, 0);
        }
    }

    /// Takes a tracked parcel off the belt by hand and says so at the panel. False where it is not there.
    pub fn remove_by_hand(&mut self, track: u32) -> bool {
        let Some(state) = self.plc.tracks().get(&track).filter(|state| !state.sliding) else { return false };
        let parcels: Vec<_> = state.parcels.iter().map(|(parcel, _)| *parcel).collect();
        for id in parcels {
            if let Some(parcel) = self.parcels.get(&id).filter(|p| p.place == Place::Belt) {
                let state = parcel.state;
                self.take_off(id, state);
            }
        }
        let encoder = self.pulses();
        self.plc.end_track(track, PlcEventKind::Removed { reason: BY_HAND }, encoder);
        true
    }
}
