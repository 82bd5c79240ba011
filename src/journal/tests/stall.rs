//! A disk that is full for a while.

use std::process::Command;

use super::*;

/// A small file system of its own.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    /// `None` where this process may not mount one.
    fn mount(at: &Path, megabytes: u32) -> Option<SmallDisk<'_>> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Fills the file system that `part` of the store is on, and frees it again. `batches`: whether batches
/// reach the store and fail there.
fn full_for_a_while(part: &str, batches: bool) {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let small = store.join(part);
    let Some(_disk) = SmallDisk::mount(&small, 40) else {
        assert!(std::env::var_os("SORTD_TEST_ALL").is_none(), "mounting a tmpfs needs root");
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let (journal, handle, opened, told) = start(&store);
    for seq in 1..=2_000 {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, 2_000);

    // Everything that is left is taken away.
    let filler = small.join("1970-01-01.filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let block = vec![1_u8; 4_096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    let mut seq = 2_000;
    wait_for("a stall", || {
        if handle.room() > 1_000 && seq < 200_000 {
            for _ in 0..100 {
                seq += 1;
                append(&handle, numbered(seq));
            }
        }
        matches!(handle.status().state, JournalState::Stalled(_))
    });
    assert!(handle.durable() < seq, "it stalls, so something is not durable");
    wait_for("a second try", || !batches || handle.status().retries > 1);

    drop(file);
    std::fs::remove_file(&filler).unwrap();
    wait_durable(&handle, seq);
    wait_for("running again", || handle.status().state == JournalState::Running);
    let records = handle.reader().records(1, usize::MAX).unwrap();
    assert_eq!(records.len() as u64, seq);
    assert_records(&records, 1);
    let status = journal.finish();
    assert_eq!((status.epoch, status.quarantined.len()), (opened.epoch, 0), "{:?}", status.quarantined);
    assert_eq!(status.orders, seq / PARCEL);
    let told = told.0.lock().unwrap();
    assert_eq!(told.len() as u64, seq);
    assert_records(&told, 1);
    drop(told);

    let (journal, _, again, _) = start(&store);
    assert_eq!((again.last_seq, again.quarantined.len()), (seq, 0));
    assert_eq!(again.orders.standing().len() as u64, seq / PARCEL);
    journal.finish();
}

#[test]
fn while_the_whole_disk_is_full_records_wait_and_none_is_lost() {
    full_for_a_while("", false);
}

#[test]
fn while_the_days_have_no_room_batches_are_kept_and_given_again() {
    full_for_a_while("days", true);
}

#[test]
fn while_the_register_has_no_room_batches_are_kept_and_given_again() {
    full_for_a_while("orders", true);
}
