//! POSIX ACLs: the form that system calls and archives use, into the shorter form that ext4 stores.

/// Version words of the two forms.
const SYSCALL: u32 = 2;
const ON_DISK: u32 = 1;
/// Tags that name a user or a group, and so keep their id on disk.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// The stored form of an ACL attribute's value; none if the value is not an ACL.
pub(super) fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != SYSCALL || entries.len() % 8 != 0 {
        return None;
    }
    let mut disk = ON_DISK.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        disk.extend_from_slice(if matches!(tag, USER | GROUP) { entry } else { &entry[..4] });
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_only_where_they_mean_something() {
        let entry =
            |tag: u16, perm: u16, id: u32| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat();
        let value = [SYSCALL.to_le_bytes().to_vec(), entry(1, 6, u32::MAX), entry(USER, 4, 1000)].concat();
        let disk = [&ON_DISK.to_le_bytes()[..], &[1, 0, 6, 0], &entry(USER, 4, 1000)].concat();
        assert_eq!(to_disk(&value), Some(disk));
        assert_eq!(to_disk(&value[..7]), None);
        assert_eq!(to_disk(&[1, 0, 0, 0]), None);
    }
}
