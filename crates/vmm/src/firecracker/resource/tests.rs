//! Our types against Firecracker's own description of its API, whose place `BANGER_TEST_FIRECRACKER_API` names
//! (`scripts/setup test` fetches a copy). Any version from 1.12 to 1.16 will do.

#![allow(clippy::print_stderr)]

use super::*;
use serde_json::{Map, Value, json};
use yaml_rust2::{Yaml, YamlLoader};

/// What we never send, of the resources that we do.
const LEFT_OUT: [&str; 10] = [
    "Balloon.free_page_hinting",
    "Balloon.free_page_reporting",
    "Drive.io_engine",
    "Drive.partuuid",
    "Drive.socket",
    "MachineConfiguration.cpu_template",
    "MachineConfiguration.huge_pages",
    "MachineConfiguration.smt",
    "MachineConfiguration.track_dirty_pages",
    "Vsock.vsock_id",
];

/// The description, if there is one here.
struct Published(Yaml);

impl Published {
    fn read(test: &str) -> Option<Self> {
        let Some(path) = std::env::var_os("BANGER_TEST_FIRECRACKER_API") else {
            eprintln!("SKIPPED: {test}: BANGER_TEST_FIRECRACKER_API does not name Firecracker's firecracker.yaml");
            return None;
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("SKIPPED: {test}: {}: {error}", path.display());
                return None;
            }
        };
        Some(Self(YamlLoader::load_from_str(&text).unwrap().remove(0)))
    }

    /// The name of what that path takes.
    fn taken_by(&self, path: &str) -> &str {
        let parameters = self.0["paths"][path]["put"]["parameters"].as_vec();
        let parameters = parameters.unwrap_or_else(|| panic!("there is no PUT {path}"));
        let body = parameters.iter().find(|parameter| parameter["in"].as_str() == Some("body")).unwrap();
        referred(&body["schema"]).unwrap()
    }

    /// What that path answers.
    fn answered_by(&self, path: &str, status: i64) -> &str {
        let responses = self.0["paths"][path]["get"]["responses"].as_hash().unwrap();
        referred(&responses[&Yaml::Integer(status)]["schema"]).unwrap()
    }

    fn properties(&self, name: &str) -> impl Iterator<Item = (&str, &Yaml)> {
        let properties = self.0["definitions"][name]["properties"].as_hash().unwrap();
        properties.iter().map(|(name, schema)| (name.as_str().unwrap(), schema))
    }

    fn required(&self, name: &str) -> Vec<&str> {
        let required = self.0["definitions"][name]["required"].as_vec();
        required.into_iter().flatten().map(|name| name.as_str().unwrap()).collect()
    }

    /// Whether a value is as the definition of that name has it; what is wrong if not.
    fn check(&self, name: &str, value: &Value) -> Result<(), String> {
        let fields = value.as_object().ok_or(format!("{name}: {value} is no object"))?;
        if let Some(missing) = self.required(name).into_iter().find(|field| !fields.contains_key(*field)) {
            return Err(format!("{name} needs {missing}"));
        }
        fields.iter().try_for_each(|(field, value)| {
            let here = format!("{name}.{field}");
            let schema =
                self.properties(name).find(|(known, _)| known == field).ok_or(format!("there is no {here}"))?.1;
            if let Some(name) = referred(schema) {
                return self.check(name, value);
            }
            let right = match schema["type"].as_str() {
                Some("integer") => value.as_i64().is_some_and(|n| {
                    schema["minimum"].as_i64().is_none_or(|least| n >= least)
                        && schema["maximum"].as_i64().is_none_or(|most| n <= most)
                }),
                Some("boolean") => value.is_boolean(),
                Some("string") => value.as_str().is_some_and(|word| {
                    schema["enum"].as_vec().is_none_or(|words| words.iter().any(|known| known.as_str() == Some(word)))
                }),
                _ => false,
            };
            if right { Ok(()) } else { Err(format!("{here} does not take {value}: {schema:?}")) }
        })
    }

    /// A value with all that the definition has, or with what it must have only; numbers count up from one.
    fn sample(&self, name: &str, all: bool) -> Value {
        let required = self.required(name);
        let fields = self.properties(name).filter(|(field, _)| all || required.contains(field));
        let fields = fields.zip(1..).map(|((field, schema), n)| {
            let value = match schema["type"].as_str() {
                Some("integer") => json!(n),
                Some("string") => json!(format!("text {n}")),
                other => panic!("{name}.{field} is a {other:?}"),
            };
            (field.to_owned(), value)
        });
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

/// The name behind `#/definitions/`.
fn referred(schema: &Yaml) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/definitions/")
}

/// Each resource with all that we know of it, and with as little as we may say.
fn puts() -> Vec<(Put, Put)> {
    let bucket = TokenBucket { size: 1, refill_time: 2, one_time_burst: Some(3) };
    let limiter = RateLimiter { bandwidth: Some(bucket), ops: TokenBucket::per_second(7) };
    let drive = Drive {
        drive_id: "disk0".into(),
        path_on_host: "/d".into(),
        is_root_device: false,
        is_read_only: true,
        cache_type: Some(CacheType::Writeback),
        rate_limiter: Some(limiter),
    };
    let least = Drive { cache_type: None, rate_limiter: None, ..drive.clone() };
    let unsafe_drive = Drive { cache_type: Some(CacheType::Unsafe), ..drive.clone() };
    let machine = MachineConfiguration { vcpu_count: 32, mem_size_mib: 128 };
    let boot =
        BootSource { kernel_image_path: "/k".into(), initrd_path: Some("/i".into()), boot_args: Some("a".into()) };
    let kernel = BootSource { initrd_path: None, boot_args: None, ..boot.clone() };
    let vsock = Vsock { guest_cid: 3, uds_path: "/s".into() };
    let balloon = Balloon { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: Some(5) };
    let silent = Balloon { stats_polling_interval_s: None, ..balloon.clone() };
    let metrics = Metrics { metrics_path: "/m".into() };
    vec![
        (Put::MachineConfig(machine.clone()), Put::MachineConfig(MachineConfiguration { vcpu_count: 1, ..machine })),
        (Put::BootSource(boot), Put::BootSource(kernel)),
        (Put::Drive(drive), Put::Drive(least)),
        (Put::Drive(unsafe_drive.clone()), Put::Drive(unsafe_drive)),
        (Put::Vsock(vsock.clone()), Put::Vsock(vsock)),
        (
            Put::Entropy(EntropyDevice { rate_limiter: Some(limiter) }),
            Put::Entropy(EntropyDevice { rate_limiter: Some(RateLimiter::default()) }),
        ),
        (Put::Balloon(balloon), Put::Balloon(silent)),
        (Put::Metrics(metrics.clone()), Put::Metrics(metrics)),
        (Put::Action(Action::InstanceStart), Put::Action(Action::FlushMetrics)),
    ]
}

#[test]
fn what_we_send_is_as_it_is_published() {
    let Some(published) = Published::read("what_we_send_is_as_it_is_published") else { return };
    for (full, least) in puts() {
        let path = full.path().replace("/drives/disk0", "/drives/{drive_id}");
        let name = published.taken_by(&path);
        for put in [&full, &least] {
            assert_eq!(published.check(name, &serde_json::to_value(put).unwrap()), Ok(()), "{put:?}");
        }
        let said = serde_json::to_value(&full).unwrap();
        for (field, _) in published.properties(name) {
            let here = format!("{name}.{field}");
            let known = said.get(field).is_some() || LEFT_OUT.contains(&here.as_str());
            assert!(known, "{here} is neither said nor left out on purpose");
        }
    }
}

#[test]
fn what_we_read_is_as_it_is_published() {
    let Some(published) = Published::read("what_we_read_is_as_it_is_published") else { return };
    let name = published.answered_by("/balloon/statistics", 200);
    let all = published.sample(name, true);
    let read: BalloonStats = serde_json::from_value(all.clone()).unwrap();
    let told = BalloonStats {
        actual_mib: all["actual_mib"].as_u64().unwrap(),
        total_memory: all["total_memory"].as_u64(),
        free_memory: all["free_memory"].as_u64(),
        available_memory: all["available_memory"].as_u64(),
        disk_caches: all["disk_caches"].as_u64(),
    };
    assert_eq!(read, told);
    assert!(read.total_memory.is_some() && read.free_memory.is_some() && read.available_memory.is_some());
    assert!(read.disk_caches.is_some());
    let least: BalloonStats = serde_json::from_value(published.sample(name, false)).unwrap();
    assert_eq!(least.total_memory, None);

    let fault: Fault = serde_json::from_value(published.sample("Error", true)).unwrap();
    assert!(fault.fault_message.starts_with("text"));
}

#[test]
fn what_is_not_published_is_found_out() {
    let Some(published) = Published::read("what_is_not_published_is_found_out") else { return };
    let judge = |value: Value| published.check("Vsock", &value).is_ok();
    assert!(judge(json!({ "guest_cid": 3, "uds_path": "/s" })));
    assert!(!judge(json!({ "guest_cid": 3 })), "a required field is missing");
    assert!(!judge(json!({ "guest_cid": 2, "uds_path": "/s" })), "that number is too low");
    assert!(!judge(json!({ "guest_cid": "3", "uds_path": "/s" })), "that is text");
    assert!(!judge(json!({ "guest_cid": 3, "uds_path": "/s", "more": 1 })), "there is no such field");
    assert!(published.check("InstanceActionInfo", &json!({ "action_type": "Dance" })).is_err());
}
