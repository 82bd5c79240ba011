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
  2. proof/records/N.frame is record N: version (1 byte, 2), number (8), event number (8), length (4), CRC32 (4),
     link (32), body; numbers big-endian. Its digest is SHA-256 over the frame without CRC32 and link.
  3. proof/chain.json: a segment begins with the link `before`. For each record from `first` on:
     link = SHA-256(link | digest), with the digest as listed, or, where the entry is empty, of the record's frame.
  4. The link after the last record is the `link` of the anchor in proof/anchors.json. What an anchor signs with
     Ed25519 (RFC 8032): \"sortd-anchor-v1\" and a zero byte | number | epoch | seq | event_seq | link | time (Unix
     microseconds) | public key | previous key id or 8 zero bytes | length and text of site | length and text of line.
  5. Photos: evidence.json names for each the record that holds its SHA-256.

What that shows: these records were written in this order, before the time of the anchor, and have not changed since;
the photos are those that were recorded. What it does not show: that the clocks were right, that no other record
mentions the parcel, and what evidence.json says under `upstream` and `missing`, which is what the controller knew
when it made this bundle.

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

验证说明：这些记录按此顺序写入，写入时间早于锚点时间，此后未被更改；照片就是当时记录的照片。它不能说明：时钟是否
准确；是否还有其他记录提到这件包裹；evidence.json 中 `upstream` 和 `missing` 的内容（那是生成证据包时控制器所知）。
";
