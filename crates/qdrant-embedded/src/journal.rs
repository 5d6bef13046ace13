//! The journal: operations that were acknowledged and that the engine's own files do not hold yet.
//!
//! One file that is written over from its beginning after each checkpoint, so that a commit is one small write to blocks
//! the file has already. Records carry the epoch of the checkpoint before them, and a checksum: reading ends at the first
//! record that is of another epoch, cut off or damaged, because nothing after it was acknowledged.
//!
//! Layout: two header slots of 512 bytes, the current one with the greater epoch, then records from byte 4096 on. All
//! numbers are little-endian. A header is a magic word, the epoch and a CRC-32; a record is epoch, length and CRC-32 of both
//! and of its content, then the content.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Name of the file inside the folder of a shard.
pub(super) const FILE: &str = "journal";
const MAGIC: [u8; 8] = *b"qronjrn1";
const SLOT: u64 = 512;
const HEADER: usize = 20;
const RECORDS: u64 = 4096;
const RECORD: usize = 16;
/// A file that has grown beyond this many bytes is cut at the next checkpoint.
const KEPT: u64 = 32 << 20;

/// A journal that is open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    epoch: u64,
    end: u64,
}

impl Journal {
    /// Opens the journal in `folder`, or makes it durably, and gives back the records that count, in their order: those in the
    /// first `committed` bytes, or all that are whole. What follows is written over.
    ///
    /// # Errors
    /// A failure of the disk, or a file that is no journal.
    pub(super) fn open(folder: &Path, committed: Option<u64>) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let path = folder.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let size = file.metadata()?.len();
        let mut journal = Self { file, epoch: 0, end: RECORDS };
        if size < RECORDS {
            // Made and not finished: nothing was acknowledged through it.
            journal.file.set_len(RECORDS)?;
            journal.begin(1)?;
            journal.file.sync_all()?;
            File::open(folder)?.sync_all()?;
            return Ok((journal, Vec::new()));
        }
        let headers = [0, SLOT].into_iter().filter_map(|at| journal.header(at));
        journal.epoch = headers.max().ok_or_else(|| io::Error::other("neither header of the journal can be read"))?;
        let size = committed.map_or(size, |bytes| size.min(RECORDS + bytes));
        let mut records = Vec::new();
        while let Some(record) = journal.record(size)? {
            journal.end += (RECORD + record.len()) as u64;
            records.push(record);
        }
        Ok((journal, records))
    }

    /// Bytes of records since the last [`Journal::clear`].
    pub(super) const fn bytes(&self) -> u64 {
        self.end - RECORDS
    }

    /// Appends `content` as one record, durable on return.
    ///
    /// # Errors
    /// A failure of the disk; then it is open whether the record will be read again.
    pub(super) fn append(&mut self, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(RECORD + content.len());
        record.extend(self.epoch.to_le_bytes());
        record.extend(length.to_le_bytes());
        record.extend(checksum(self.epoch, content).to_le_bytes());
        record.extend(content);
        self.file.write_all_at(&record, self.end)?;
        self.file.sync_data()?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// Forgets all records, durably: the engine's files hold what they say.
    ///
    /// # Errors
    /// A failure of the disk, or no further epoch, which only a forged header brings about. The records may be read again,
    /// which does no harm.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.end == RECORDS {
            return Ok(());
        }
        let next = self.epoch.checked_add(1).filter(|epoch| *epoch < u64::MAX);
        self.begin(next.ok_or_else(|| io::Error::other("the journal has no further epoch"))?)?;
        if self.file.metadata()?.len() > KEPT {
            self.file.set_len(RECORDS)?;
        }
        self.file.sync_data()
    }

    fn begin(&mut self, epoch: u64) -> io::Result<()> {
        // The other slot stays valid until this one is whole.
        self.file.write_all_at(&header_of(epoch), (epoch % 2) * SLOT)?;
        (self.epoch, self.end) = (epoch, RECORDS);
        Ok(())
    }

    fn header(&self, at: u64) -> Option<u64> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, at).ok()?;
        let whole = header[..8] == MAGIC && header[16..] == crc32fast::hash(&header[..16]).to_le_bytes();
        // No epoch could follow the last one, so it is none that a journal wrote.
        whole.then(|| u64_at(&header, 8)).filter(|epoch| *epoch < u64::MAX)
    }

    /// The record at the end of what is known, if there is a whole one of this epoch in a file of `size` bytes.
    fn record(&self, size: u64) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; RECORD];
        if self.end + RECORD as u64 > size {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, self.end)?;
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if u64_at(&head, 0) != self.epoch || self.end + RECORD as u64 + u64::from(length) > size {
            return Ok(None);
        }
        let mut content = vec![0; length as usize];
        self.file.read_exact_at(&mut content, self.end + RECORD as u64)?;
        let whole = head[12..] == checksum(self.epoch, &content).to_le_bytes();
        Ok(whole.then_some(content))
    }
}

/// A valid header of `epoch`.
fn header_of(epoch: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&epoch.to_le_bytes());
    let checksum = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn checksum(epoch: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&(content.len() as u64).to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// A journal of these bytes: two headers, then records, all with right magic words and checksums, so that a fuzzer need not find
/// those.
#[cfg(feature = "fuzzing")]
pub(super) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let at = |from: usize, to: usize| bytes.get(from.min(bytes.len())..to.min(bytes.len())).unwrap_or_default();
    let mut journal = vec![0; 4096];
    for (slot, epoch) in [(0, at(0, 8)), (512, at(8, 16))] {
        journal[slot..slot + 8].copy_from_slice(&MAGIC);
        journal[slot + 8..slot + 8 + epoch.len()].copy_from_slice(epoch);
        let checksum = crc32fast::hash(&journal[slot..slot + 16]);
        journal[slot + 16..slot + HEADER].copy_from_slice(&checksum.to_le_bytes());
    }
    journal.extend(at(16, bytes.len()));
    let mut record = 4096;
    while let Some(head) = journal.get(record..record + RECORD) {
        let (epoch, length) = (u64_at(head, 0), u32::from_le_bytes([head[8], head[9], head[10], head[11]]));
        let content = record + RECORD;
        let Some(end) = content.checked_add(length as usize).filter(|end| *end <= journal.len()) else { break };
        let checksum = checksum(epoch, &journal[content..end]);
        journal[content - 4..content].copy_from_slice(&checksum.to_le_bytes());
        record = end;
    }
    journal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(folder: &Path) -> (Journal, Vec<String>) {
        let (journal, records) = Journal::open(folder, None).expect("open");
        (journal, records.into_iter().map(|record| String::from_utf8(record).expect("text")).collect())
    }

    #[test]
    fn records_come_back_in_order_until_they_are_cleared() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, records) = open(folder.path());
        assert!(records.is_empty());
        for text in ["one", "", "three"] {
            journal.append(text.as_bytes()).expect("append");
        }
        let (mut journal, records) = open(folder.path());
        assert_eq!(records, ["one", "", "three"]);
        journal.append(b"four").expect("append");
        assert_eq!(open(folder.path()).1.len(), 4);
        journal.clear().expect("clear");
        assert_eq!((journal.bytes(), open(folder.path()).1.len()), (0, 0));
    }

    #[test]
    fn what_an_earlier_epoch_left_behind_a_shorter_one_is_not_read() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, _) = open(folder.path());
        for text in ["same length", "same length", "same length"] {
            journal.append(text.as_bytes()).expect("append");
        }
        journal.clear().expect("clear");
        journal.append(b"SAME LENGTH").expect("append");
        assert_eq!(open(folder.path()).1, ["SAME LENGTH"]);
    }

    #[test]
    fn a_record_that_is_cut_off_or_damaged_ends_the_journal() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(FILE);
        let (mut journal, _) = open(folder.path());
        journal.append(b"whole").expect("append");
        journal.append(b"damaged").expect("append");
        journal.append(b"behind").expect("append");
        let at = RECORDS + (RECORD + 5 + RECORD) as u64;
        journal.file.write_all_at(b"D", at).expect("damage");
        assert_eq!(open(folder.path()).1, ["whole"]);
        let file = OpenOptions::new().write(true).open(&path).expect("file");
        file.set_len(at).expect("cut");
        let (mut journal, records) = open(folder.path());
        assert_eq!(records, ["whole"]);
        journal.append(b"goes on").expect("append");
        assert_eq!(open(folder.path()).1, ["whole", "goes on"]);
    }

    #[test]
    fn a_record_that_was_refused_is_not_read_by_who_knows_it_and_is_written_over() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, _) = open(folder.path());
        journal.append(b"kept").expect("append");
        let committed = journal.bytes();
        journal.append(b"its sync failed").expect("append");
        let (mut journal, records) = Journal::open(folder.path(), Some(committed)).expect("open");
        assert_eq!((records, journal.bytes()), (vec![b"kept".to_vec()], committed));
        journal.append(b"next").expect("append");
        assert_eq!(open(folder.path()).1, ["kept", "next"]);
    }

    #[test]
    fn a_header_that_was_cut_off_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, _) = open(folder.path());
        journal.append(b"kept").expect("append");
        let next = (journal.epoch + 1) % 2 * SLOT;
        journal.file.write_all_at(&MAGIC, next).expect("half a header");
        assert_eq!(open(folder.path()).1, ["kept"]);
        for slot in [0, SLOT] {
            journal.file.write_all_at(&[0; HEADER], slot).expect("damage");
        }
        assert!(Journal::open(folder.path(), None).is_err(), "what cannot be read is not taken for empty");
    }

    #[test]
    fn a_header_of_the_last_epoch_does_not_count() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, _) = open(folder.path());
        journal.append(b"kept").expect("append");
        journal.file.write_all_at(&header_of(u64::MAX), 0).expect("a forged header");
        let (mut journal, records) = open(folder.path());
        assert_eq!(records, ["kept"]);
        journal.clear().expect("clear");
        assert_eq!(open(folder.path()).1, Vec::<String>::new());
    }

    #[test]
    fn records_that_no_further_epoch_could_follow_stay() {
        let folder = tempfile::tempdir().expect("folder");
        let (journal, _) = open(folder.path());
        journal.file.write_all_at(&header_of(u64::MAX - 1), 0).expect("a forged header");
        let (mut journal, _) = open(folder.path());
        journal.append(b"kept").expect("append");
        journal.clear().expect_err("no further epoch");
        journal.append(b"appended").expect("append");
        assert_eq!(open(folder.path()).1, ["kept", "appended"]);
    }

    /// The bytes of a journal with `contents` in it.
    fn written(contents: &[Vec<u8>]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, _) = Journal::open(folder.path(), None).expect("open");
        for content in contents {
            journal.append(content).expect("append");
        }
        std::fs::read(folder.path().join(FILE)).expect("the file")
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(FILE), bytes).expect("written");
        Journal::open(folder.path(), None).map(|(_, records)| records)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is changed in a journal or cut from it, what is read is a beginning of what was written.
        #[test]
        fn damage_ends_a_journal_and_makes_nothing_up(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            length in any::<proptest::sample::Index>(),
        ) {
            let whole = written(&contents);
            prop_assert_eq!(read(&whole).expect("a journal"), &contents[..]);
            let records = usize::try_from(RECORDS).expect("small");
            let mut damaged = whole.clone();
            if damaged.len() > records {
                let place = records + at.index(damaged.len() - records);
                damaged[place] = byte;
            }
            let found = read(&damaged).expect("a journal");
            prop_assert_eq!(&found[..], &contents[..found.len()]);
            let cut = &whole[..records + length.index(whole.len() - records + 1)];
            let found = read(cut).expect("a journal");
            prop_assert_eq!(&found[..], &contents[..found.len()]);
        }

        #[test]
        fn no_bytes_break_the_reader(mut bytes in proptest::collection::vec(any::<u8>(), 0..6_000), has_header in any::<bool>()) {
            let slot = usize::try_from(SLOT).expect("small");
            if has_header && bytes.len() > HEADER {
                bytes[..HEADER].copy_from_slice(&written(&[])[slot..slot + HEADER]);
            }
            let size = bytes.len();
            if let Ok(records) = read(&bytes) {
                prop_assert!(records.iter().map(Vec::len).sum::<usize>() <= size);
            }
        }
    }
}
