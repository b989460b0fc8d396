//! The network without root: a resolver and the world, but nothing of the host's own.

use banger_e2e::{
    Call, Sandbox, Vm,
    place::{Place, find},
    processes, skip, wait_for,
};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A server of the host that counts who reaches it.
struct Server {
    port: u16,
    reached: Arc<AtomicU32>,
}

impl Server {
    fn on(address: &str) -> Option<Self> {
        let listener = TcpListener::bind((address, 0)).ok()?;
        let (port, reached) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&reached);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { continue };
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nreached\n");
                let _ = stream.read(&mut [0; 1024]);
            }
        });
        Some(Self { port, reached })
    }

    fn reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst) > 0
    }
}

/// The host's own addresses that are neither loopback nor link-local.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let listed = Call::new(find("ip").unwrap_or_else(|| "ip".into())).words("-o addr show up").run();
    let addresses =
        listed.stdout.lines().filter_map(|line| line.split_whitespace().nth(3)?.split('/').next()?.parse().ok());
    addresses
        .filter(|ip: &IpAddr| !ip.is_loopback() && !matches!(ip, IpAddr::V6(v6) if v6.segments()[0] == 0xfe80))
        .collect()
}

fn online(sandbox: &Sandbox) -> Vm<'_> {
    sandbox.vm_with("box", "--net user")
}

/// Whether a connection from the guest is taken.
fn connects(vm: &Vm<'_>, address: &str, port: u16) -> bool {
    vm.sh(&format!("echo | timeout 4 nc -w 3 {address} {port}")).run().stdout.contains("reached")
}

#[test]
fn the_guest_has_an_address_a_route_and_a_resolver() {
    if find("passt").is_none() {
        skip!("network: user mode", "no passt");
    }
    let sandbox = Sandbox::new();
    let vm = online(&sandbox);
    let route = vm.exec("ip route").run();
    assert!(route.ok().contains("default via"), "{route}");
    let resolver = vm.exec("cat /etc/resolv.conf").run();
    assert!(resolver.ok().contains("nameserver"), "{resolver}");
}

#[test]
fn the_guest_never_reaches_what_listens_on_the_hosts_loopback() {
    if find("passt").is_none() {
        skip!("network: loopback of the host", "no passt");
    }
    let sandbox = Sandbox::new();
    let vm = online(&sandbox);
    let (four, any) = (Server::on("127.0.0.1").unwrap(), Server::on("0.0.0.0").unwrap());
    let six = Server::on("::1");
    let gateway = vm.sh("ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'").run().ok().to_owned();
    let mut addresses = vec!["10.0.2.2".to_owned(), "169.254.1.1".into(), "169.254.169.254".into(), gateway];
    addresses.extend(own_addresses().iter().map(ToString::to_string));
    let resolvers = vm.sh("sed -n 's/^nameserver //p' /etc/resolv.conf").run();
    addresses.extend(resolvers.ok().lines().map(str::to_owned));
    for address in &addresses {
        for server in [&four, &any].into_iter().chain(six.as_ref()) {
            connects(&vm, address, server.port);
        }
    }
    assert!(!four.reached(), "127.0.0.1 of the host was reached by one of {addresses:?}");
    assert!(!any.reached(), "a server on all addresses of the host was reached by one of {addresses:?}");
    assert!(!six.is_some_and(|six| six.reached()), "::1 of the host was reached by one of {addresses:?}");
}

#[test]
fn root_the_guest_reaches_a_server_beyond_the_host() {
    let name = "network: a server beyond the host";
    if !banger_e2e::need::is_root() || find("passt").is_none() || find("ip").is_none() {
        skip!(name, "needs root, passt and ip to make another host");
    }
    let Some(beyond) = Beyond::make() else { skip!(name, "no network namespaces here") };
    let sandbox = Sandbox::new();
    // The daemon lives where this host's resolver is one that knows one name.
    let config = sandbox.scratch().join("resolv.conf");
    std::fs::write(&config, format!("nameserver {}\n", Beyond::HERE)).unwrap();
    serve_one_name(Beyond::HERE, b"\x06beyond\x07example\0", [203, 0, 113, 2]);
    let daemon = format!(
        "mount --bind {} /etc/resolv.conf && exec {} vm list",
        config.display(),
        Place::get().program("banger").display()
    );
    sandbox.tool("unshare").words("--mount sh -c").arg(daemon).run().ok();
    let vm = online(&sandbox);
    wait_for("the name's address", || {
        let answer = vm.exec("nslookup beyond.example").run();
        (answer.status.success() && answer.stdout.contains(&beyond.address)).then_some(())
    });
    wait_for("the page from beyond", || {
        let page = vm.sh(&format!("timeout 5 wget -q -O - http://{}:8080/", beyond.address)).run();
        (page.stdout == "from beyond\n").then_some(())
    });
}

/// A name server of this host, for this process's life, that knows the address of one name, which is given as it travels.
fn serve_one_name(address: &str, name: &'static [u8], is_at: [u8; 4]) {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut question) {
            let asked = &question[..length];
            let (id, rest) = (&asked[..2], &asked[12..]);
            let known = rest.starts_with(name);
            let question = &rest[..rest.iter().position(|byte| *byte == 0).unwrap() + 5];
            let is_for_ipv4 = question.ends_with(&[0, 1, 0, 1]);
            let flags = if known { [0x81, 0x80] } else { [0x81, 0x83] };
            let mut answer = [id, &flags, &[0, 1, 0, u8::from(known && is_for_ipv4), 0, 0, 0, 0], question].concat();
            if known && is_for_ipv4 {
                // The name of the question, an address, for a minute.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(is_at);
            }
            let _ = socket.send_to(&answer, asker);
        }
    });
}

/// A host that is not this one: a network namespace at the end of a wire, in which busybox serves a page.
struct Beyond {
    namespace: String,
    address: String,
    server: std::process::Child,
}

impl Beyond {
    /// This host's end of the wire.
    const HERE: &str = "203.0.113.1";

    fn make() -> Option<Self> {
        let pid = std::process::id();
        let (namespace, here) = (format!("banger-e2e-{pid}"), format!("bge{}", pid % 100_000));
        let address = "203.0.113.2".to_owned();
        let ip = |words: &str| Call::new(find("ip").unwrap()).words(words).run().status.success();
        let made = ip(&format!("netns add {namespace}"))
            && ip(&format!("link add {here} type veth peer name there netns {namespace}"))
            && ip(&format!("addr add {}/30 dev {here}", Self::HERE))
            && ip(&format!("link set {here} up"))
            && ip(&format!("-n {namespace} addr add {address}/30 dev there"))
            && ip(&format!("-n {namespace} link set there up"))
            && ip(&format!("-n {namespace} link set lo up"));
        if !made {
            ip(&format!("netns del {namespace}"));
            return None;
        }
        let page = Place::get().folder("page");
        std::fs::write(page.join("index.html"), "from beyond\n").unwrap();
        let mut server =
            Call::new(find("ip").unwrap()).words(&format!("netns exec {namespace}")).arg(find("busybox").unwrap());
        server = server.words("httpd -f -p 8080 -h").arg(&page);
        let server = server.into_command().spawn().unwrap();
        Some(Self { namespace, address, server })
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        Call::new(find("ip").unwrap()).words("netns del").arg(&self.namespace).run();
    }
}

#[test]
fn udp_to_the_hosts_loopback_is_not_carried_either() {
    if find("passt").is_none() {
        skip!("network: udp", "no passt");
    }
    let sandbox = Sandbox::new();
    let vm = online(&sandbox);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let SocketAddr::V4(address) = socket.local_addr().unwrap() else { unreachable!("bound to IPv4") };
    let gateway = vm.sh("ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'").run().ok().to_owned();
    for to in ["127.0.0.1", "10.0.2.2", "169.254.1.1", &gateway] {
        vm.sh(&format!("echo x | timeout 3 nc -u -w 1 {to} {}", address.port())).run();
    }
    assert!(socket.recv(&mut [0; 16]).is_err(), "a datagram from the guest came to the host's loopback");
}

/// The filter of the sandbox's only VM, when there is one.
fn filter(sandbox: &Sandbox) -> Option<u32> {
    let mut processes = sandbox.processes().into_iter();
    processes.find(|process| process.command.contains("banger-usernet")).map(|process| process.pid)
}

#[test]
fn a_network_process_that_dies_is_told_of_and_another_takes_its_place() {
    if find("passt").is_none() {
        skip!("network: a process of it dies", "no passt");
    }
    let sandbox = Sandbox::new();
    let vm = online(&sandbox);
    let gateway_answers = || vm.sh("arping -c 1 -w 3 -I eth0 10.0.2.2").run().status.success();
    assert!(gateway_answers());
    let warning = |of: &[&str]| {
        wait_for(&format!("a warning of {of:?}"), || {
            let warnings = vm.show()["running"]["warnings"].to_string();
            of.iter().all(|word| warnings.contains(word)).then_some(())
        });
    };

    let first = filter(&sandbox).unwrap();
    processes::kill(first);
    warning(&["set up again", "signal 9"]);
    let second = filter(&sandbox).unwrap();
    assert!(second != first && gateway_answers(), "the guest has its network again");

    // None can be had for a while. It is tried again some seconds later.
    let config = std::fs::read_to_string(sandbox.config()).unwrap();
    std::fs::write(sandbox.config(), format!("{config}[programs]\npasst = \"/bin/false\"\n")).unwrap();
    let passt = std::fs::read_to_string(format!("/proc/{second}/task/{second}/children")).unwrap();
    processes::kill(passt.trim().parse().unwrap());
    warning(&["cannot be set up again", "passt"]);
    assert_eq!(vm.status(), "running");
    assert!(sandbox.banger("vm list").run().ok().contains("running, offline"));
    assert!(sandbox.banger("vm show box").run().ok().contains("broken down"));
    vm.exec("true").run().ok();
    std::fs::write(sandbox.config(), config).unwrap();
    warning(&["set up again", "passt"]);
    wait_for("the VM to be online", || (!sandbox.banger("vm list").run().ok().contains("offline")).then_some(()));
    assert!(gateway_answers(), "the guest has its network again");
}

#[test]
fn none_is_no_network_at_all() {
    let sandbox = Sandbox::new();
    let output = sandbox.banger("vm run --rm --net none -- sh -c").arg("ls /sys/class/net; ip route").run();
    assert_eq!(output.ok(), "lo");
}

#[test]
fn a_guest_that_is_gone_leaves_no_process_of_its_network() {
    if find("passt").is_none() {
        skip!("network: teardown", "no passt");
    }
    let sandbox = Sandbox::new();
    let vm = online(&sandbox);
    let names = |p: &processes::Process| p.command.contains("passt") || p.command.contains("usernet");
    assert!(sandbox.processes().iter().any(names), "{:?}", sandbox.processes());
    vm.does("kill");
    sandbox.assert_nothing_runs();
}
