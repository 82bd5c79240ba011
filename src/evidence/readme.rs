//! `README.txt` of every bundle.

/// The same in each: what this is, how to verify it, and what that shows.
pub const TEXT: &str = "\
CLAIM EVIDENCE
==============

What happened to one parcel on a sorting line, as the line's controller (sortd) recorded it.

  evidence.html   open it in any browser: English and Chinese, with the photos
  evidence.json   the same for programs (schema: sortd schema evidence)
  photos/         photos of the parcel, as the cameras wrote them
  proof/          the records themselves, their place in the hash chain, signed anchors, the public key
  MANIFEST        SHA-256 of every file

Verify it, on any machine, without the line, its store or its configuration:

  sortd verify --bundle THIS.zip --key public-key.pem

Take the public key from whoever runs the line, not from this bundle: the line publishes it with every anchor. Exit
code 0: proven. Exit code 1: something was altered, or is not proven; the file or the record is named.

Without sortd:

  1. unzip THIS.zip && sha256sum -c MANIFEST
  2. proof/records/N.frame is record N: version (1 byte, 3), number (8), event number (8), length of the body (4),
     CRC32 (4), link (32), length of ABOUT (1), ABOUT, body; numbers big-endian. Its canonical form is the first 21
     bytes and the body. Digest: SHA-256(byte 3 | length of ABOUT | ABOUT | SHA-256(canonical form)). In frames of
     version 2 there is no ABOUT and no length of it, and the digest is SHA-256(canonical form).
     ABOUT: \"p\" and the pass, epoch (2) and track (4); \"r\" and the start of the run, record (8) and digest (32).
  3. proof/chain.json: a segment begins with the link `before`. For each record from `first` on:
     link = SHA-256(link | digest), with the digest of the record's frame where the entry is empty; of an entry
     ABOUT:HASH, SHA-256(byte 3 | length of ABOUT | ABOUT | HASH); of an entry without \":\", the entry itself.
     No record of a pass was left out where one segment goes from the record of its induction beyond that of its end,
     every entry between has an ABOUT, and none names the pass.
  4. The link after the segment's last record is the `link` of the anchor in proof/anchors.json. What an anchor signs with
     Ed25519 (RFC 8032): \"sortd-anchor-v1\" and a zero byte | number | epoch | seq | event_seq | link | time (Unix
     microseconds) | public key | previous key id or 8 zero bytes | length (1) and text of site | length (1) and text
     of line. Numbers are 8 bytes, big-endian.
  5. Photos: evidence.json names for each the record that holds its SHA-256.

What that shows: these records were written in this order, before the time of the anchor, and have not changed since;
of each pass none was left out, from its induction to the record that `complete` names; the photos are those that were
recorded.

What it does not show: that the clocks were right; that the code had no other pass, and that nothing else named it
without belonging to a pass; what was recorded later. And what evidence.json lists under `stated` is what the
controller said when it made this bundle, and nothing proves it: whether upstream had acknowledged an event, what
became of a photo that is not here, what the store did not hold any more. The page marks it.

理赔证据
========

一件包裹在分拣线上的经过，由分拣控制器 (sortd) 记录。

  evidence.html   用任意浏览器打开：中英文，含照片
  evidence.json   供程序使用
  photos/         相机拍摄的照片，未经改动
  proof/          原始记录、在哈希链中的位置、签名锚点、公钥
  MANIFEST        每个文件的 SHA-256

验证（任何一台机器，不需要分拣线的数据或配置）：

  sortd verify --bundle 本文件.zip --key public-key.pem

公钥应向分拣线的运营方索取，不要使用本证据包里的公钥。退出码 0：已证实。退出码 1：有内容被改动或无法证实，
并指出是哪个文件或哪条记录。

验证说明：这些记录按此顺序写入，写入时间早于锚点时间，此后未被更改；每次经过从入口记录到 `complete` 所写的记录为止，
没有遗漏任何属于它的记录；照片就是当时记录的照片。

它不能说明：时钟是否准确；该条码是否还有其他经过，是否还有不属于任何经过的记录提到它；此后又记录了什么。
evidence.json 中 `stated` 所列的内容是控制器生成证据包时的声明，未经证实：上游是否已确认事件、缺少的照片的情况、
存储中已不存在的内容。页面上均已标明。
";
