//! All scenarios. Each begins and ends with a host that has nothing of it, so that it runs alone, beside others and again.

use crate::{daemon, images, life, runs, speech};
use banger_e2e::smoke::{
    Class::{Global, Independent, Sharing},
    Scenario,
};

/// They use an image of the registry by the same name, or by the same content.
const TEAM_DEV: &str = "team/dev";

const fn scenario(
    name: &'static str,
    class: banger_e2e::smoke::Class,
    shows: &'static str,
    play: fn(&banger_e2e::smoke::User),
) -> Scenario {
    Scenario { name, class, shows, play }
}

/// In the order in which they begin, as far as there is one.
pub(crate) static TABLE: &[Scenario] = &[
    scenario("one-download", Sharing(TEAM_DEV), "two runs of a missing image share one download", images::one_download),
    scenario("pull-twice", Sharing(TEAM_DEV), "a second pull says that the image is here", images::pull_twice),
    scenario("image-in-use", Sharing(TEAM_DEV), "an image is deleted when no VM needs it", images::image_in_use),
    scenario("oci-layout", Sharing(TEAM_DEV), "an image of a local layout runs as it says", images::oci_layout),
    scenario("restart-and-logs", Independent, "a restart keeps disks and earlier consoles", life::restart_and_logs),
    scenario("exit-status", Independent, "run --rm ends with the command's status", runs::exit_status),
    scenario("streams", Independent, "stdin, stdout and stderr pass through run", runs::streams),
    scenario("command-options", Independent, "environment, folder and user of a command", runs::command_options),
    scenario("interrupted-boot", Independent, "Ctrl-C while a VM boots leaves nothing", runs::interrupted_boot),
    scenario(
        "interrupted-command",
        Independent,
        "Ctrl-C reaches the command, and its VM goes",
        runs::interrupted_command,
    ),
    scenario("client-killed", Independent, "the VM of a client that is killed goes", runs::client_killed),
    scenario("life", Independent, "create, start, exec, stop, delete", life::life),
    scenario("two-clients", Independent, "two clients do the same to one VM at once", life::two_clients),
    scenario("kill", Independent, "a VM is killed with what runs in it", life::kill),
    scenario("copy", Independent, "a folder into a VM and out again", life::copy),
    scenario("detach", Independent, "a VM in the background, used later", life::detach),
    scenario("import-tar", Independent, "a tar becomes an image with a name of the user's", images::import_tar),
    scenario("list-and-show", Independent, "what there is, for people and programs", life::list_and_show),
    scenario("name-taken", Independent, "a name is one VM's, and the first keeps it", life::name_taken),
    scenario("many-creates", Independent, "VMs created at once have names of their own", life::many_creates),
    scenario("bad-words", Independent, "what cannot be is refused before anything is made", speech::bad_words),
    scenario("no-such-vm", Independent, "every verb names the VM that is not there", speech::no_such_vm),
    scenario("kernels", Independent, "the kernel is listed and shown", images::kernels),
    scenario("debug", Independent, "an error's id leads to what was logged", speech::debug),
    scenario("json", Independent, "every answer can be JSON", speech::json),
    scenario("completions", Independent, "completions, manual pages and help", speech::completions),
    scenario("config-file", Global, "the configuration file is read anew for every command", daemon::config_file),
    scenario("daemon-stopped", Global, "a VM outlives a daemon that is stopped", daemon::stopped),
    scenario("daemon-killed", Global, "a VM and its command outlive a daemon that is killed", daemon::killed),
    scenario("prune", Global, "a prune takes what is stopped, never what starts or runs", daemon::prune),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_anothers_beginning() {
        for one in TABLE {
            let own = |other: &&Scenario| other.name == one.name || other.name.starts_with(&format!("{}-", one.name));
            assert_eq!(TABLE.iter().filter(own).count(), 1, "whose VMs begin with {}- ?", one.name);
            assert!(!one.shows.is_empty());
        }
    }

    #[test]
    fn there_are_some_of_every_class() {
        assert!(TABLE.len() >= 20);
        for class in [Sharing(TEAM_DEV), Independent, Global] {
            assert!(TABLE.iter().filter(|scenario| scenario.class == class).count() > 1, "{class}");
        }
    }
}
