//! Which book each embedded ledger keeps, remembered outside of it. A ledger whose book is gone must not
//! begin an empty one: it would credit again what the lost book holds (I10, F6).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;

use super::data_dir::Folder;

const FILE: &str = "ledgers.json";

/// Refuses to begin a new book where one was kept before. To call before a ledger's book is opened.
///
/// # Errors
/// When the book is gone, or the file that names it cannot be read.
pub fn check_present(folder: &Folder, name: &str, book: &Path) -> anyhow::Result<()> {
    let is_there = std::fs::read_dir(book).is_ok_and(|mut entries| entries.next().is_some());
    if !is_there && known(folder)?.contains_key(name) {
        bail!(
            "the book of ledger {name} is not in {}: put the folder back, or restore it from a backup that is \
             not older than the data folder; an empty one would credit again what the lost one holds",
            book.display()
        );
    }
    Ok(())
}

/// Remembers the book of a ledger when it is opened for the first time, before anything is credited in
/// it, and refuses any other from then on.
///
/// # Errors
/// When it is another book than before, or the file cannot be read or written.
pub fn admit(folder: &Folder, name: &str, book_id: u64) -> anyhow::Result<()> {
    let mut books = known(folder)?;
    let id = format!("{book_id:016x}");
    match books.get(name) {
        Some(before) if *before == id => Ok(()),
        Some(before) => bail!("the book of ledger {name} is {id}, and was {before}: it is another ledger's"),
        None => {
            books.insert(name.to_owned(), id);
            folder.write(FILE, &serde_json::to_vec_pretty(&books)?)
        }
    }
}

fn known(folder: &Folder) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(folder.read(FILE, |json| serde_json::from_slice(json))?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::DataDir;
    use super::*;

    #[test]
    fn a_ledger_keeps_its_book_for_life() {
        let place = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(&place.path().join("data"), "test", 1).unwrap();
        let (folder, book) = (data.folder(), place.path().join("book"));
        check_present(folder, "bank", &book).unwrap();
        admit(folder, "bank", 7).unwrap();
        admit(folder, "mint", 8).unwrap();
        admit(folder, "bank", 7).unwrap();
        let other = admit(folder, "bank", 8).unwrap_err().to_string();
        assert!(other.contains("was 0000000000000007"), "{other}");
        // Gone, or an empty place where it was mounted.
        assert!(check_present(folder, "bank", &book).is_err());
        std::fs::create_dir(&book).unwrap();
        assert!(check_present(folder, "bank", &book).is_err());
        check_present(folder, "new", &book).unwrap();
        std::fs::write(book.join("p-0000"), "").unwrap();
        check_present(folder, "bank", &book).unwrap();
    }
}
