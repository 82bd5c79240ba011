//! Chutes: what lies in them, their full sensors, and the people who change their bags.

use std::collections::VecDeque;

use sortd::site::{ChuteNo, Site};

/// A chute as it physically is.
#[derive(Debug, Clone)]
pub struct ChuteState {
    /// Number at the PLC.
    pub number: u16,
    /// Parcels in its bag.
    pub content: u16,
    /// Places.
    pub capacity: u16,
    /// A changer is called or at work.
    pub called: bool,
    /// Takes exceptions: someone stands there and takes each parcel away, so it never fills.
    pub attended: bool,
    /// Discharges here, from the induction eye.
    pub position_mm: u32,
    /// Point of no return.
    pub decision_mm: u32,
}

/// All chutes and their people.
#[derive(Debug)]
pub struct Chutes {
    by_number: Vec<Option<ChuteState>>,
    waiting: VecDeque<u16>,
    free_changers: usize,
    change_at_percent: u32,
    /// Bags exchanged so far.
    pub changed: u64,
    /// Parcels that came when the bag was full already.
    pub overfilled: u64,
}

impl Chutes {
    /// Empty chutes.
    pub fn new(site: &Site, changers: usize, change_at_percent: u32) -> Chutes {
        let highest = site.chutes.iter().map(|chute| usize::from(chute.number.0)).max().unwrap_or(0);
        let mut by_number = vec![None; highest + 1];
        for chute in &site.chutes {
            by_number[usize::from(chute.number.0)] = Some(ChuteState {
                number: chute.number.0,
                content: 0,
                capacity: chute.capacity,
                called: false,
                attended: chute.number == site.exception_chute,
                position_mm: chute.position_mm,
                decision_mm: chute.decision_mm,
            });
        }
        Chutes {
            by_number,
            waiting: VecDeque::new(),
            free_changers: changers,
            change_at_percent,
            changed: 0,
            overfilled: 0,
        }
    }

    /// A chute by number.
    pub fn get(&self, number: u16) -> Option<&ChuteState> {
        self.by_number.get(usize::from(number))?.as_ref()
    }

    /// Every chute, by number.
    pub fn all(&self) -> impl Iterator<Item = &ChuteState> {
        self.by_number.iter().flatten()
    }

    /// Its full sensor.
    pub fn is_full(&self, number: u16) -> bool {
        self.get(number).is_some_and(|chute| !chute.attended && chute.content >= chute.capacity)
    }

    /// Full sensors as a bitmap; bit n of word n/16 is chute n.
    pub fn full_bits(&self, words: u16) -> Vec<u16> {
        let mut bits = vec![0u16; usize::from(words)];
        for chute in self.all().filter(|chute| self.is_full(chute.number)) {
            if let Some(word) = bits.get_mut(usize::from(chute.number / 16)) {
                *word |= 1 << (chute.number % 16);
            }
        }
        bits
    }

    /// A parcel falls in. Gives the chutes whose bag change begins now.
    pub fn take(&mut self, number: u16) -> Option<u16> {
        let chute = self.by_number.get_mut(usize::from(number))?.as_mut()?;
        if chute.attended {
            return None;
        }
        if chute.content >= chute.capacity {
            self.overfilled += 1;
        }
        chute.content = chute.content.saturating_add(1);
        let called_for = u32::from(chute.content) * 100 >= u32::from(chute.capacity) * self.change_at_percent;
        if !called_for || chute.called {
            return None;
        }
        self.call(ChuteNo(number))
    }

    /// Someone asks for a bag change. Gives the chute if a changer is free and begins now.
    pub fn call(&mut self, chute: ChuteNo) -> Option<u16> {
        let state = self.by_number.get_mut(usize::from(chute.0))?.as_mut()?;
        if state.called {
            return None;
        }
        state.called = true;
        if self.free_changers > 0 {
            self.free_changers -= 1;
            return Some(chute.0);
        }
        self.waiting.push_back(chute.0);
        None
    }

    /// A bag change is done: the chute is empty, its changer goes to the next that waits, which begins now.
    pub fn change_done(&mut self, number: u16) -> Option<u16> {
        if let Some(Some(chute)) = self.by_number.get_mut(usize::from(number)) {
            chute.content = 0;
            chute.called = false;
        }
        self.changed += 1;
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.free_changers += 1;
        }
        next
    }

    /// Emptied outside the rota. False where there is no such chute.
    pub fn empty_now(&mut self, number: u16) -> bool {
        let Some(Some(chute)) = self.by_number.get_mut(usize::from(number)) else { return false };
        chute.content = 0;
        self.changed += 1;
        true
    }
}
