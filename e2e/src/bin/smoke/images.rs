//! Images and kernels: from a registry, from files, and until nobody needs them.

use banger_e2e::{skip, smoke::User};

/// What the image `dev` says of itself and its command.
const TELL: &str = "cat /etc/motd; pwd; id -un; echo $GREETING";
const TOLD: &str = "top\n/work\ndev\nhello from the image";

/// The registry's `team/dev:1`, which is not here. One of these scenarios that failed may have left it.
fn absent(user: &User) -> Option<String> {
    let registry = user.surroundings.registry.as_ref()?;
    let reference = format!("{}/team/dev:1", registry.host);
    user.banger("image delete").arg(&reference).run();
    user.banger("image show").arg(&reference).run().expect_status(1).fails_with(&["team/dev"]);
    Some(reference)
}

fn delete(user: &User, reference: &str) {
    user.banger("image delete").arg(reference).succeeds();
    user.banger("image show").arg(reference).run().expect_status(1).fails_with(&[reference]);
}

pub(crate) fn one_download(user: &User) {
    let Some(reference) = absent(user) else { skip!("one-download", "no docker-registry") };
    let before = user.downloads("team/dev");
    let run = |what| {
        let call = user.banger("vm run --rm --quiet --name").arg(user.name(what));
        call.arg("--image").arg(&reference).words("-- sh -c").arg(TELL).start()
    };
    let runs = [run("one"), run("two")];
    for run in runs {
        assert_eq!(run.wait().ok(), TOLD);
    }
    let after = user.downloads("team/dev");
    let fresh: Vec<_> = after.iter().map(|(blob, times)| times - before.get(blob).unwrap_or(&0)).collect();
    assert!(fresh.len() >= 4 && fresh.iter().all(|times| *times == 1), "three layers and a configuration: {fresh:?}");
    delete(user, &reference);
}

pub(crate) fn pull_twice(user: &User) {
    let Some(reference) = absent(user) else { skip!("pull-twice", "no docker-registry") };
    user.banger("image pull").arg(&reference).succeeds();
    let once = user.downloads("team/dev");
    user.banger("image pull").arg(&reference).succeeds().says(&["is already here"]);
    assert_eq!(user.downloads("team/dev"), once, "it was fetched again");
    let list = user.banger("image list").run();
    assert!(list.ok().lines().any(|line| line.contains("/team/dev:1")), "{list}");
    delete(user, &reference);
}

pub(crate) fn image_in_use(user: &User) {
    let Some(reference) = absent(user) else { skip!("image-in-use", "no docker-registry") };
    let name = user.name("box");
    user.banger("vm create --image").arg(&reference).arg("--name").arg(&name).succeeds();
    let show = user.banger("image show --json").arg(&reference).run().json();
    assert_eq!(show["used_by"], serde_json::json!([name]));
    user.banger("image delete").arg(&reference).run().expect_status(1).fails_with(&["team/dev", &name]);
    user.banger("image show").arg(&reference).succeeds();
    user.banger("vm delete").arg(&name).succeeds();
    delete(user, &reference);
}

pub(crate) fn oci_layout(user: &User) {
    let reference = format!("oci-layout:{}:dev", user.surroundings.layout.display());
    let run = user.banger("vm run --rm --quiet --name").arg(user.name("box")).arg("--image").arg(&reference);
    assert_eq!(run.words("-- sh -c").arg(TELL).run().ok(), TOLD);
    user.banger("image pull").arg(format!("{reference}er")).run().expect_status(1).fails_with(&["dev", "plain"]);
    delete(user, &reference);
}

pub(crate) fn import_tar(user: &User) {
    let source = format!("rootfs:{}", user.surroundings.tar.display());
    let name = "localhost/smoke/own:1";
    user.banger("image import").arg(&source).arg(name).succeeds();
    let run = user.banger("vm run --rm --quiet --image").arg(name).arg("--name").arg(user.name("box"));
    assert_eq!(run.words("-- cat /etc/motd").run().ok(), "made of a tar");
    delete(user, name);
    user.banger("image import rootfs:/etc/passwd").arg(name).run().expect_status(1).fails_with(&["/etc/passwd"]);
}

pub(crate) fn kernels(user: &User) {
    let show = user.banger("kernel show --json debian").run().json();
    let release = show["release"].as_str().unwrap();
    let list = user.banger("kernel list").run();
    assert!(list.ok().contains("debian") && list.ok().contains(release), "{list}");
    assert!(user.banger("kernel show debian").run().ok().contains(release));
    user.banger("kernel pull debian").succeeds().says(&["is already here"]);
    user.banger("kernel show nothing").run().expect_status(1).fails_with(&["nothing"]);
}
