//! A zip archive's own checksums: whether every entry is what was written.
//!
//! libtorch reads archives without looking at them, so a bit that flipped on
//! the way is a weight that is wrong, and every answer with it. The layout is
//! that of PKWARE's APPNOTE.TXT, 4.3, with zip64 (4.3.14, 4.5.3).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use flate2::Crc;
use flate2::read::DeflateDecoder;

/// How much of an entry is read at a time: it stays in a processor's cache.
const CHUNK: usize = 128 << 10;
/// A record at the end of an archive, without its comment.
const END: usize = 22;
/// The record before it that says where zip64's record is.
const LOCATOR: usize = 20;
/// An entry of the directory, without its name, extra fields and comment.
const ENTRY: usize = 46;
/// The head of an entry's data, without its name and extra fields.
const LOCAL: usize = 30;
/// A value of this many bits that stands in zip64's fields.
const ELSEWHERE: u64 = 0xffff_ffff;

/// Why an archive isn't whole.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it can't be read: {}", .0.kind())]
    Unreadable(#[from] io::Error),
    #[error("the zip archive {0}")]
    Archive(&'static str),
    #[error("its entry '{}' {what}", name.escape_debug())]
    Entry { name: String, what: String },
}

/// Checks every entry of the zip archive at `path`. It is read through a buffer,
/// once. A file that isn't a zip archive has no checksums, and passes.
///
/// # Errors
/// The first part that isn't as it was written, for the person who put the file
/// there.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let checked = File::open(path).map_err(Damage::from).and_then(|file| check_file(&file));
    checked.map_err(|damage| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!(
            "the model file '{name}' is truncated or damaged: {damage}; copy it again from where it came from"
        )
    })
}

fn check_file(file: &File) -> Result<(), Damage> {
    let mut start = [0; 4];
    if file.metadata()?.len() < 4 || file.read_exact_at(&mut start, 0).is_err() || start != *b"PK\x03\x04" {
        return Ok(());
    }
    let directory = Directory::find(file)?;
    let mut entries = BufReader::new(Section { file, at: directory.at, left: directory.bytes });
    for _ in 0..directory.entries {
        Entry::read(&mut entries)?.check(file, directory.at)?;
    }
    match entries.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(Damage::Archive("has entries that its end doesn't count")),
    }
}

/// Where the list of entries is.
struct Directory {
    at: u64,
    bytes: u64,
    entries: u64,
}

impl Directory {
    /// Finds it by the record at the archive's end.
    fn find(file: &File) -> Result<Self, Damage> {
        let length = file.metadata()?.len();
        // The record is followed by a comment of at most 65,535 bytes.
        let near = length.min((END + LOCATOR + usize::from(u16::MAX)) as u64);
        let mut tail = Vec::new();
        Section { file, at: length - near, left: near }.read_to_end(&mut tail)?;
        let is_end = |at: &usize| {
            let behind = tail.len() - at - END;
            tail[*at..].starts_with(b"PK\x05\x06") && number::<2>(&tail, at + 20) == behind as u64
        };
        let none = Damage::Archive("has no end");
        let at = (0..=tail.len().saturating_sub(END)).rev().filter(|at| at + END <= tail.len()).find(is_end);
        let at = at.ok_or(none)?;
        let end = length - near + at as u64;
        let short = Self {
            entries: number::<2>(&tail, at + 10),
            bytes: number::<4>(&tail, at + 12),
            at: number::<4>(&tail, at + 16),
        };
        let locator = at.checked_sub(LOCATOR).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
        let (directory, end) = match locator {
            None => (short, end),
            Some(locator) => {
                let record = number::<8>(&tail, locator + 8);
                let long = Self::of_zip64(file, record)?;
                // The short record repeats what fits into it.
                let fits = |short, long, most| short == most || short == long;
                if !fits(short.entries, long.entries, u64::from(u16::MAX))
                    || !fits(short.bytes, long.bytes, ELSEWHERE)
                    || !fits(short.at, long.at, ELSEWHERE)
                {
                    return Err(Damage::Archive("has two ends that differ"));
                }
                (long, record)
            }
        };
        match directory.at.checked_add(directory.bytes) {
            Some(last) if last <= end => Ok(directory),
            Some(_) | None => Err(Damage::Archive("is shorter than its end says")),
        }
    }

    fn of_zip64(file: &File, at: u64) -> Result<Self, Damage> {
        let mut record = [0; 56];
        let read = file.read_exact_at(&mut record, at);
        if read.is_err() || !record.starts_with(b"PK\x06\x06") {
            return Err(Damage::Archive("has a zip64 end that isn't where it should be"));
        }
        Ok(Self {
            entries: number::<8>(&record, 32),
            bytes: number::<8>(&record, 40),
            at: number::<8>(&record, 48),
        })
    }
}

/// What the directory says of an entry.
struct Entry {
    name: Vec<u8>,
    method: u64,
    crc: u64,
    /// Its bytes in the archive, and unpacked.
    packed: u64,
    bytes: u64,
    /// Where the head of its data is.
    at: u64,
}

impl Entry {
    fn read(directory: &mut impl Read) -> Result<Self, Damage> {
        let broken = |_| Damage::Archive("has a list of entries that breaks off");
        let mut fixed = [0; ENTRY];
        directory.read_exact(&mut fixed).map_err(broken)?;
        if !fixed.starts_with(b"PK\x01\x02") {
            return Err(Damage::Archive("has a list of entries that is damaged"));
        }
        let mut rest = |at| {
            let mut bytes = vec![0; usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]))];
            directory.read_exact(&mut bytes).map(|()| bytes).map_err(broken)
        };
        let (name, extra, _comment) = (rest(28)?, rest(30)?, rest(32)?);
        let mut entry = Self {
            name,
            method: number::<2>(&fixed, 10),
            crc: number::<4>(&fixed, 16),
            packed: number::<4>(&fixed, 20),
            bytes: number::<4>(&fixed, 24),
            at: number::<4>(&fixed, 42),
        };
        let mut long = zip64(&extra);
        // In this order, and only those that don't fit.
        for value in [&mut entry.bytes, &mut entry.packed, &mut entry.at] {
            if *value == ELSEWHERE {
                let (next, further) = long
                    .split_first_chunk::<8>()
                    .ok_or(Damage::Archive("has a list of entries that lacks a size"))?;
                *value = u64::from_le_bytes(*next);
                long = further;
            }
        }
        Ok(entry)
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn damaged(&self, what: impl Into<String>) -> Damage {
        Damage::Entry { name: self.name(), what: what.into() }
    }

    /// Reads its data, which lie before `end`.
    fn check(&self, file: &File, end: u64) -> Result<(), Damage> {
        let at = self.data(file)?;
        if at.checked_add(self.packed).is_none_or(|last| last > end) {
            return Err(self.damaged("isn't there whole"));
        }
        let packed = Section { file, at, left: self.packed };
        let crc = match self.method {
            0 if self.packed == self.bytes => of_all(packed, self.bytes)?,
            0 => return Err(self.damaged("has two lengths")),
            8 => of_all(DeflateDecoder::new(BufReader::new(packed)), self.bytes)
                .map_err(|_| self.damaged("can't be unpacked"))?,
            other => {
                return Err(self.damaged(format!("is packed by method {other}, which libtorch doesn't know")));
            }
        };
        match crc {
            Some(crc) if u64::from(crc) == self.crc => Ok(()),
            Some(crc) => {
                let what = format!("has the checksum {crc:08x}, and was written with {:08x}", self.crc);
                Err(self.damaged(what))
            }
            None => Err(self.damaged(format!("doesn't unpack to its {} bytes", self.bytes))),
        }
    }

    /// Where its data begin.
    fn data(&self, file: &File) -> Result<u64, Damage> {
        let mut head = vec![0; LOCAL + self.name.len()];
        let read = file.read_exact_at(&mut head, self.at);
        let (fixed, name) = head.split_at(LOCAL);
        if read.is_err()
            || !fixed.starts_with(b"PK\x03\x04")
            || name != self.name
            || number::<2>(fixed, 8) != self.method
            || number::<2>(fixed, 26) != self.name.len() as u64
        {
            return Err(self.damaged("isn't where the list of entries has it"));
        }
        // At most 128 KiB behind a place in the file.
        Ok(self.at + head.len() as u64 + number::<2>(fixed, 28))
    }
}

/// The checksum of all bytes, if there are as many as this.
fn of_all(mut from: impl Read, bytes: u64) -> io::Result<Option<u32>> {
    let mut crc = Crc::new();
    let mut chunk = vec![0; CHUNK.min(usize::try_from(bytes).unwrap_or(CHUNK)).max(1)];
    let mut read = 0_u64;
    loop {
        let count = from.read(&mut chunk)?;
        read += count as u64;
        if count == 0 || read > bytes {
            return Ok((read == bytes).then(|| crc.sum()));
        }
        crc.update(&chunk[..count]);
    }
}

/// The values in zip64's extra field; empty if there is none.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let [kind, kind_high, length, length_high, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*length, *length_high])).min(rest.len());
        if (*kind, *kind_high) == (1, 0) {
            return &rest[..length];
        }
        extra = &rest[length..];
    }
    &[]
}

/// A number of `N` bytes at a place that is there.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + N].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A part of a file. It ends early if the file does.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A model file of the repository's tests.
    fn model(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(name)).unwrap()
    }

    /// What is told of a file with this content.
    fn told(bytes: &[u8]) -> Result<(), String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        check(file.path())
    }

    /// Each of an archive's entries: its name, and where its bytes are.
    fn entries(bytes: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let directory = Directory::find(&file).unwrap();
        let mut section = Section { file: &file, at: directory.at, left: directory.bytes };
        let entry = |_| {
            let entry = Entry::read(&mut section).unwrap();
            let start = usize::try_from(entry.data(&file).unwrap()).unwrap();
            (entry.name(), start..start + usize::try_from(entry.packed).unwrap())
        };
        (0..directory.entries).map(entry).collect()
    }

    #[test]
    fn every_bit_of_every_entry_counts() {
        // Stored entries, and packed ones.
        for name in ["models/stateful/1/model.pt", "backend/recurrent.pt", "models/dynamic/1/model.pt"] {
            let whole = model(name);
            assert_eq!(told(&whole), Ok(()), "{name}");
            for (entry, place) in entries(&whole) {
                for byte in place.clone() {
                    let mut bytes = whole.clone();
                    bytes[byte] ^= 1 << (byte % 8);
                    let Err(told) = told(&bytes) else {
                        // Behind the last block of a packed entry there are bits that nobody reads.
                        assert_eq!(byte + 1, place.end, "{name}: {entry}");
                        continue;
                    };
                    assert!(
                        told.contains(&format!("its entry '{entry}'")) && told.contains("copy it"),
                        "{told}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_or_has_more_is_refused() {
        let whole = model("models/identity/1/model.pt");
        for length in (4..whole.len()).rev() {
            let told = told(&whole[..length]).unwrap_err();
            assert!(told.contains("is truncated or damaged: "), "{length}: {told}");
        }
        assert!(told(&[&whole[..], b"\n"].concat()).unwrap_err().contains("has no end"));
        // Other formats have no checksums that are known here.
        for other in [&b""[..], b"PK", b"\x80\x02}q\0", b"hello"] {
            assert_eq!(told(other), Ok(()));
        }
        assert!(check(Path::new("nowhere/model.pt")).unwrap_err().contains("can't be read"));
    }

    /// An archive of one entry whose head is far behind 4 GiB, with a hole before
    /// it.
    fn far(data: &[u8], crc: u32) -> tempfile::NamedTempFile {
        const AT: u64 = 5 << 30;
        let name = b"far/data/0";
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = |number: usize| (number as u64).to_le_bytes();
        let head = |bytes: u32, extra: u16| {
            let sizes = [crc, bytes, bytes].map(u32::to_le_bytes).concat();
            [&[0; 10][..], &sizes, &(name.len() as u16).to_le_bytes(), &extra.to_le_bytes()].concat()
        };
        let local = [b"PK\x03\x04", &head(u32::MAX, 0)[..], name, data].concat();
        let extra = [&[1, 0, 24, 0][..], &long(data.len()), &long(data.len()), &AT.to_le_bytes()].concat();
        let fixed = [b"PK\x01\x02\0\0", &head(u32::MAX, 28)[..], &[0; 10], &[0xff; 4]].concat();
        let entry = [&fixed[..], name, &extra].concat();
        let directory = AT + local.len() as u64;
        let counts = [1_u64, 1, entry.len() as u64, directory].map(u64::to_le_bytes).concat();
        let record = [b"PK\x06\x06", &long(44)[..], &[0; 12], &counts].concat();
        let at = directory + entry.len() as u64;
        let locator = [b"PK\x06\x07", &[0; 4][..], &at.to_le_bytes(), &[0; 4]].concat();
        let end = [b"PK\x05\x06\0\0\0\0", &[0xff; 12][..], &[0; 2]].concat();
        file.as_file().write_all_at(b"PK\x03\x04", 0).unwrap();
        file.as_file().write_all_at(&[local, entry, record, locator, end].concat(), AT).unwrap();
        file
    }

    #[test]
    fn entries_behind_four_gigabytes_are_found() {
        let crc = |data: &[u8]| of_all(data, data.len() as u64).unwrap().unwrap();
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        assert_eq!(check(far(b"weights", crc(b"weights")).path()), Ok(()));
        let told = check(far(b"weighty", crc(b"weights")).path()).unwrap_err();
        assert!(told.contains("its entry 'far/data/0' has the checksum"), "{told}");
    }
}
