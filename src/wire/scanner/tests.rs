use proptest::prelude::*;

use super::*;

fn stx() -> Framing {
    Framing {
        header: vec![0x02],
        terminator: vec![0x03],
        separator: Some(b";".to_vec()),
        no_read: Some("NoRead".to_owned()),
        heartbeat: Some("HB".to_owned()),
        aim: true,
        longest: 64,
    }
}

fn crlf() -> Framing {
    Framing {
        header: Vec::new(),
        terminator: b"\r\n".to_vec(),
        separator: None,
        no_read: Some("ERROR".to_owned()),
        heartbeat: None,
        aim: false,
        longest: 32,
    }
}

fn whats(framing: Framing, bytes: &[u8]) -> Vec<Result<Telegram, ScannerFault>> {
    Decoder::new(framing).push(bytes, ()).into_iter().map(|frame| frame.what).collect()
}

fn barcode(aim: Option<&[u8; 2]>, text: &str) -> Reading {
    Reading::Barcode { aim: aim.map(|aim| Aim(aim[0], aim[1])), text: text.to_owned() }
}

#[test]
fn frozen_stx_etx_with_aim_and_two_codes() {
    let bytes = b"\x02]C100312345678901234560\x1d10AB;]d2010401\x03\x02NoRead\x03\x02HB\x03";
    let codes = vec![barcode(Some(b"C1"), "00312345678901234560\x1d10AB"), barcode(Some(b"d2"), "010401")];
    let telegrams = [Telegram::Codes(codes), Telegram::NoRead, Telegram::Heartbeat];
    assert_eq!(whats(stx(), bytes), telegrams.clone().map(Ok));
    let sent: Vec<u8> = telegrams.iter().flat_map(|telegram| encode(&stx(), telegram).unwrap()).collect();
    assert_eq!(sent, bytes);
}

#[test]
fn frozen_cr_lf() {
    assert_eq!(
        whats(crlf(), b"TH123\r\nERROR\r\nA\rB\r\nC\r\n"),
        [
            Ok(Telegram::Codes(vec![barcode(None, "TH123")])),
            Ok(Telegram::NoRead),
            Err(ScannerFault::Control { bytes: 3, at: 1, came: b'\r' }),
            Ok(Telegram::Codes(vec![barcode(None, "C")])),
        ]
    );
}

#[test]
fn a_lone_cr_takes_cr_lf_too() {
    let framing = Framing { terminator: vec![CR], ..crlf() };
    let codes = |text| Ok(Telegram::Codes(vec![barcode(None, text)]));
    assert_eq!(whats(framing, b"A1\r\nB2\rC3\r\n"), [codes("A1"), codes("B2"), codes("C3")]);
}

#[test]
fn it_finds_the_next_telegram_after_noise() {
    let good = Ok(Telegram::Codes(vec![barcode(Some(b"C0"), "X1")]));
    let bytes = b"noise\x02]C0X1\x03\r\n\x02]C0hal\x02]C0X1\x03\x03\x02]C0X1\x03";
    assert_eq!(
        whats(stx(), bytes),
        [
            Err(ScannerFault::Garbage { bytes: 5 }),
            good.clone(),
            Err(ScannerFault::Cut { bytes: 6 }),
            good.clone(),
            Err(ScannerFault::Garbage { bytes: 1 }),
            good
        ]
    );
}

#[test]
fn an_endless_telegram_is_one_fault() {
    let mut bytes = vec![b'9'; 5_000];
    bytes.extend_from_slice(b"\r\nOK\r\n");
    assert_eq!(
        whats(crlf(), &bytes),
        [Err(ScannerFault::Oversized { longest: 32 }), Ok(Telegram::Codes(vec![barcode(None, "OK")]))]
    );
    // The longest one permitted still passes.
    let text = "7".repeat(32);
    let whole = [text.as_bytes(), b"\r\n"].concat();
    assert_eq!(whats(crlf(), &whole), [Ok(Telegram::Codes(vec![barcode(None, &text)]))]);
}

#[test]
fn endless_noise_is_reported_in_portions_and_not_kept() {
    let mut decoder = Decoder::new(stx());
    let frames = decoder.push(&[b'x'; 1_000], ());
    assert_eq!(frames.len(), 1_000 / 64);
    assert!(decoder.buffer.len() <= 1);
}

#[test]
fn faults_name_what_was_wrong() {
    assert_eq!(whats(stx(), b"\x02X1\x03"), [Err(ScannerFault::BadAim { came: "X1".to_owned() })]);
    assert_eq!(whats(stx(), b"\x02]C0\x03"), [Err(ScannerFault::Empty)]);
    assert_eq!(whats(stx(), b"\x02\x03"), [Err(ScannerFault::Empty)]);
    assert_eq!(whats(crlf(), b"ab\xff\r\n"), [Err(ScannerFault::NotUtf8 { bytes: 3, at: 2 })]);
    // One bad code of two makes the telegram a fault: half of it could hide a second parcel.
    assert_eq!(whats(stx(), b"\x02]C0A;B\x03"), [Err(ScannerFault::BadAim { came: "B".to_owned() })]);
}

#[test]
fn the_stamp_is_that_of_the_first_byte() {
    let mut decoder = Decoder::new(stx());
    let mut frames = Vec::new();
    for (stamp, &byte) in b"zz\x02]C0A\x03\x02HB\x03".iter().enumerate() {
        decoder.byte(byte, stamp, &mut frames);
    }
    assert_eq!(frames.iter().map(|frame| frame.first).collect::<Vec<_>>(), [0, 2, 8]);
}

#[test]
fn distrusted_bytes_never_become_a_code() {
    let mut decoder = Decoder::new(crlf());
    assert!(decoder.push(b"1234", ()).is_empty());
    assert_eq!(decoder.distrust(), Some(ScannerFault::Cut { bytes: 4 }));
    let frames = decoder.push(b"5678\r\nGOOD\r\n", ());
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].what, Ok(Telegram::Codes(vec![barcode(None, "GOOD")])));
    decoder.push(b"12", ());
    assert_eq!(decoder.abandon(), Some(ScannerFault::Cut { bytes: 2 }));
    assert_eq!(decoder.push(b"GOOD\r\n", ()).len(), 1);
    assert_eq!(decoder.abandon(), None);
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(stx()),
        Just(crlf()),
        Just(Framing { terminator: vec![CR], ..crlf() }),
        Just(Framing { header: b"\x02\x02S".to_vec(), terminator: b"\x03\r".to_vec(), ..stx() }),
    ]
}

/// Bytes in which framing characters are frequent.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(0x02),
        Just(0x03),
        Just(CR),
        Just(LF),
        Just(b';'),
        Just(b']'),
        Just(b'C'),
        Just(b'1'),
        Just(b'S'),
        any::<u8>()
    ];
    prop::collection::vec(byte, 0..400)
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_telegrams(framing in framings(), bytes in noise(), cuts in prop::collection::vec(1_usize..40, 1..50)) {
        let whole = whats(framing.clone(), &bytes);
        let mut decoder = Decoder::new(framing);
        let (mut rest, mut parts) = (bytes.as_slice(), Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            parts.extend(decoder.push(now, ()).into_iter().map(|frame| frame.what));
            rest = later;
        }
        prop_assert_eq!(parts, whole);
    }

    #[test]
    fn memory_is_bounded(framing in framings(), bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut decoder = Decoder::new(framing.clone());
        for byte in bytes {
            decoder.push(&[byte], ());
            prop_assert!(decoder.buffer.len() <= framing.longest + framing.terminator.len());
        }
    }

    #[test]
    fn after_noise_and_a_terminator_the_next_telegram_is_read(framing in framings(), bytes in noise()) {
        let mut decoder = Decoder::new(framing.clone());
        decoder.push(&bytes, ());
        decoder.push(&framing.terminator, ());
        let sent = Telegram::Codes(vec![Reading::Barcode { aim: framing.aim.then_some(Aim(b'C', b'1')), text: "AB12".to_owned() }]);
        let frames = decoder.push(&encode(&framing, &sent).unwrap(), ());
        prop_assert_eq!(frames.last().map(|frame| frame.what.clone()), Some(Ok(sent)));
    }

    #[test]
    fn what_is_encoded_decodes(texts in prop::collection::vec("[A-Z0-9\\-]{1,9}", 1..5)) {
        let readings = texts.iter().map(|text| barcode(Some(b"C0"), text)).collect();
        let sent = Telegram::Codes(readings);
        prop_assert_eq!(whats(stx(), &encode(&stx(), &sent).unwrap()), [Ok(sent)]);
    }
}
