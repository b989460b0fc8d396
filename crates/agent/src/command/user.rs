//! Who a command runs as: `NAME|UID[:GROUP|GID]` against the texts of `/etc/passwd` and `/etc/group`.
//!
//! Owns: the reading of the two files, without NSS (the agent is static and the guest's libraries are not ours). Pure: it
//! takes texts. A number need not be in the files, a name must; as container engines have it, naming a group leaves out
//! the user's other groups.

/// A user with everything that a process of theirs needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Supplementary group ids.
    pub(crate) groups: Vec<u32>,
    /// The user's name, or the number when it has none.
    pub(crate) name: String,
    /// The home folder.
    pub(crate) home: String,
    /// The login shell; empty when none is named.
    pub(crate) shell: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Finds `spec`; empty means root. None when a name in it is not in the texts.
pub(crate) fn resolve(spec: &str, passwd: &str, group: &str) -> Option<Identity> {
    let (user_spec, group_spec) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let user_spec = if user_spec.is_empty() { "0" } else { user_spec };
    let number = user_spec.parse::<u32>().ok();
    let named = users(passwd).find(|u| u.name == user_spec);
    let user = named.or_else(|| number.and_then(|uid| users(passwd).find(|u| u.uid == uid)));
    let uid = user.as_ref().map(|u| u.uid).or(number)?;

    let gid = match group_spec {
        None => user.as_ref().map_or(0, |u| u.gid),
        Some(wanted) => {
            let named = groups(group).find(|g| g.name == wanted).map(|g| g.gid);
            named.or_else(|| wanted.parse().ok())?
        }
    };
    let supplementary = match (&user, group_spec) {
        (Some(user), None) => {
            let of_user = groups(group).filter(|g| g.gid != gid && g.members.split(',').any(|m| m.trim() == user.name));
            of_user.map(|g| g.gid).collect()
        }
        _ => Vec::new(),
    };
    let home = match &user {
        Some(user) if !user.home.is_empty() => user.home,
        None if uid == 0 => "/root",
        _ => "/",
    };
    let name = user.as_ref().map_or_else(|| uid.to_string(), |u| u.name.to_owned());
    let shell = user.as_ref().map_or_else(String::new, |u| u.shell.to_owned());
    Some(Identity { uid, gid, groups: supplementary, name, home: home.to_owned(), shell })
}

/// The gid of a group by its name.
pub(crate) fn group_id(name: &str, group: &str) -> Option<u32> {
    groups(group).find(|g| g.name == name).map(|g| g.gid)
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(User { name, uid, gid, home, shell: fields.next().unwrap_or_default() })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# note\nbroken\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n7:x:70:71::/seven:\n";
    const GROUP: &str = "root:x:0:\ntty:x:5:\nann:x:1000:\ndocker:x:998:bob,ann\nwheel:x:10:ann\n";

    fn found(spec: &str) -> (u32, u32, Vec<u32>, String, String) {
        let it = resolve(spec, PASSWD, GROUP).expect(spec);
        (it.uid, it.gid, it.groups, it.name, it.home)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(found(""), (0, 0, vec![], "root".into(), "/root".into()));
        assert_eq!(found("ann"), (1000, 1000, vec![998, 10], "ann".into(), "/home/ann".into()));
        assert_eq!(found("1000"), found("ann"));
        assert_eq!(found("ann:docker"), (1000, 998, vec![], "ann".into(), "/home/ann".into()));
        assert_eq!(found("1000:4"), (1000, 4, vec![], "ann".into(), "/home/ann".into()));
        assert_eq!(found("4242"), (4242, 0, vec![], "4242".into(), "/".into()));
        assert_eq!(found("4242:wheel"), (4242, 10, vec![], "4242".into(), "/".into()));
        assert_eq!(found(":wheel"), (0, 10, vec![], "root".into(), "/root".into()));
        assert_eq!(found("7"), (70, 71, vec![], "7".into(), "/seven".into()), "a name of digits is a name first");
    }

    #[test]
    fn shells_are_those_of_the_file() {
        let shell = |spec| resolve(spec, PASSWD, GROUP).expect(spec).shell;
        assert_eq!((shell(""), shell("1000")), ("/bin/bash".into(), "/bin/sh".into()));
        assert_eq!((shell("7"), shell("4242")), (String::new(), String::new()));
    }

    #[test]
    fn unknown_names_are_not_found() {
        for spec in ["nobody2", "ann:nogroup", "-1", "4294967296", "ann:4294967296"] {
            assert_eq!(resolve(spec, PASSWD, GROUP), None, "{spec}");
        }
    }

    #[test]
    fn an_image_without_the_files_still_has_root() {
        let root = resolve("", "", "").expect("root needs no file");
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
    }
}
