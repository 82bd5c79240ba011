use super::*;
use crate::journal::signing::CREDENTIAL;

fn notary(directory: &std::path::Path, key: Option<&str>) -> (Notary, Arc<StatusCell>, Board) {
    let board = Board::default();
    let anchors = AnchorSettings {
        site: "s".to_owned(),
        line: "l".to_owned(),
        signing_key: key.map(|name| directory.join(name)),
    };
    let settings =
        JournalSettings { anchors: Some(anchors), ..JournalSettings::in_directory(directory, board.clone()) };
    let status = Arc::new(StatusCell::default());
    (Notary::new(&settings, Arc::clone(&status), Arc::default()), status, board)
}

fn standing(seq: u64) -> Standing<'static> {
    Standing { day: "2026-11-22", epoch: 1, seq, event_seq: 0, link: Link([9; 32]) }
}

/// Numbers of the records that anchors speak of.
fn attested(directory: &std::path::Path) -> Vec<u64> {
    let (anchors, damage) = anchor_reader::all(directory).unwrap();
    assert_eq!(damage, [""; 0]);
    assert!(anchors.iter().all(Anchor::is_genuine));
    assert!(anchors.iter().map(|anchor| anchor.claim.number).eq(1..=anchors.len() as u64));
    anchors.iter().map(|anchor| anchor.claim.seq).collect()
}

#[test]
fn an_anchor_is_made_each_minute_or_thousand_records_but_not_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut notary, status, _) = notary(directory.path(), None);
    let at = |s: u64| Tick(s * 1_000_000);
    notary.look(standing(1), at(0), 0);
    assert_eq!(attested(directory.path()), [0; 0], "not at once");
    // The first thousand stand behind no anchor: they count as one due, a second after the start.
    notary.look(standing(5), at(1), 0);
    notary.look(standing(900), at(30), 0);
    notary.look(standing(1_004), at(31), 0);
    assert_eq!(attested(directory.path()), [5]);
    notary.look(standing(1_005), at(32), 0);
    assert_eq!(attested(directory.path()), [5, 1_005]);
    notary.look(standing(9_000), at(32), 0);
    assert_eq!(attested(directory.path()), [5, 1_005], "one a second at most");
    notary.look(standing(9_000), at(33), 0);
    notary.look(standing(9_001), at(92), 0);
    notary.look(standing(9_001), at(93), 0);
    notary.look(standing(9_001), at(1_000), 0);
    assert_eq!(attested(directory.path()), [5, 1_005, 9_000, 9_001]);
    notary.attest(standing(9_001), at(1_000), 0);
    notary.attest(standing(9_002), at(1_000), 0);
    assert_eq!(attested(directory.path()), [5, 1_005, 9_000, 9_001, 9_002], "at the end, if there is more");
    assert_eq!(status.get().anchor.map(|anchor| (anchor.number, anchor.seq)), Some((5, 9_002)));
}

#[test]
fn a_restart_goes_on_and_a_changed_key_names_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _, _) = notary(directory.path(), None);
    first.attest(standing(10), Tick(0), 0);
    drop(first);
    let (mut second, status, _) = notary(directory.path(), None);
    second.look(standing(10), Tick(0), 0);
    assert_eq!(status.get().anchor.map(|anchor| anchor.number), Some(1), "shown before the next is made");
    second.attest(standing(11), Tick(0), 0);
    drop(second);
    std::fs::write(directory.path().join(CREDENTIAL), [3; 32]).unwrap();
    let (mut third, _, _) = notary(directory.path(), Some(CREDENTIAL));
    third.attest(standing(12), Tick(0), 0);
    third.attest(standing(13), Tick(0), 0);
    let (anchors, _) = anchor_reader::all(directory.path()).unwrap();
    let previous: Vec<_> = anchors.iter().map(|anchor| anchor.claim.previous_key).collect();
    assert_eq!(previous, [None, None, Some(anchors[0].key_id()), None]);
    assert_ne!(anchors[2].key_id(), anchors[0].key_id());
}

#[test]
fn a_key_that_is_wrong_is_an_alarm_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut notary, status, board) = notary(directory.path(), Some("key"));
    let alarmed = || board.snapshot().1.iter().any(|alarm| alarm.id == ALARM);
    notary.look(standing(1), Tick(0), 0);
    assert!(alarmed() && status.get().anchors_failed == 1, "known at the start");
    notary.look(standing(2_000), Tick(9_000_000), 0);
    assert_eq!(status.get().anchors_failed, 1, "not tried all the time");
    std::fs::write(directory.path().join("key"), [3; 32]).unwrap();
    notary.look(standing(2_000), Tick(11_000_000), 0);
    assert!(!alarmed());
    assert_eq!(attested(directory.path()), [2_000]);
}

#[test]
fn a_key_that_is_gone_is_a_critical_alarm_and_no_other_signs_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _, _) = notary(directory.path(), None);
    first.attest(standing(10), Tick(0), 0);
    drop(first);
    let own = directory.path().join("signing-key.pem");
    let backup = std::fs::read(&own).unwrap();
    std::fs::remove_file(&own).unwrap();
    let (mut second, _, board) = notary(directory.path(), None);
    second.look(standing(2_000), Tick(0), 0);
    second.look(standing(2_000), Tick(61_000_000), 0);
    let alarms = board.snapshot().1;
    let alarm = alarms.iter().find(|alarm| alarm.id == ALARM).expect("it is said");
    assert_eq!(alarm.severity, Severity::Critical);
    assert!(alarm.remedy.contains("signing-key.pub aside"), "{}", alarm.remedy);
    assert_eq!(attested(directory.path()), [10]);
    std::fs::write(&own, backup).unwrap();
    second.look(standing(2_000), Tick(72_000_000), 0);
    assert_eq!(attested(directory.path()), [10, 2_000]);
    assert_eq!(board.snapshot().1, [], "it goes on by itself");
}

#[test]
fn a_new_key_that_follows_another_is_an_alarm_that_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _, _) = notary(directory.path(), None);
    first.attest(standing(10), Tick(0), 0);
    drop(first);
    for name in ["signing-key.pem", "signing-key.pub"] {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    let (mut second, _, board) = notary(directory.path(), None);
    second.attest(standing(11), Tick(0), 0);
    let (anchors, _) = anchor_reader::all(directory.path()).unwrap();
    assert_eq!(anchors[1].claim.previous_key, Some(anchors[0].key_id()));
    let alarms = board.snapshot().1;
    let alarm = alarms.iter().find(|alarm| alarm.id == KEY_ALARM).expect("it is said");
    assert!(alarm.text.contains(&anchors[0].key_id().to_string()), "{}", alarm.text);
    assert!(directory.path().join("alarms").join(KEY_ALARM).exists());
}

#[test]
fn anchors_that_are_taken_away_or_cut_off_are_missed_at_the_next_start() {
    for taken in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, _, _) = notary(directory.path(), None);
        first.attest(standing(10), Tick(0), 0);
        first.attest(standing(11), Tick(0), 0);
        drop(first);
        let anchors = directory.path().join("anchors");
        if taken {
            std::fs::remove_dir_all(&anchors).unwrap();
        } else {
            let file = std::fs::read_dir(&anchors).unwrap().next().unwrap().unwrap().path();
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len(file.metadata().unwrap().len() - 100).unwrap();
        }
        let (mut second, status, board) = notary(directory.path(), None);
        second.attest(standing(12), Tick(0), 0);
        let (_, alarms) = board.snapshot();
        assert!(alarms.iter().any(|alarm| alarm.id.starts_with("journal-quarantine-anchors")), "{alarms:?}");
        let (left, _) = anchor_reader::all(directory.path()).unwrap();
        assert_eq!(left.last().unwrap().claim.number, 3, "no number is given twice");
        assert_eq!(status.get().quarantined.len(), 1);
    }
}

#[test]
fn a_reader_gets_every_anchor_once_from_where_it_asks() {
    let directory = tempfile::tempdir().unwrap();
    let (mut notary, _, _) = notary(directory.path(), None);
    let heard = Arc::clone(&notary.heard);
    let reader = crate::journal::AnchorReader::new(directory.path().to_owned(), heard);
    let numbers = |after, max| -> Vec<u64> {
        reader.after(after, max).unwrap().iter().map(|anchor| anchor.claim.number).collect()
    };
    assert_eq!(numbers(0, 10), [0; 0]);
    for seq in 1..=7 {
        let day = if seq <= 4 { "2026-11-22" } else { "2026-11-23" };
        notary.attest(Standing { day, ..standing(seq) }, Tick(0), 0);
    }
    assert_eq!(numbers(0, 3), [1, 2, 3]);
    assert_eq!(numbers(3, 3), [4, 5, 6]);
    assert_eq!(numbers(6, 3), [7]);
    assert_eq!(numbers(7, 3), [0; 0]);
    notary.attest(standing(8), Tick(0), 0);
    assert_eq!(numbers(7, 3), [8]);
    assert_eq!(numbers(0, 100), [1, 2, 3, 4, 5, 6, 7, 8], "backwards, too");
    reader.acknowledge(7).unwrap();
    assert_eq!(reader.acknowledged().unwrap(), 7);
}
