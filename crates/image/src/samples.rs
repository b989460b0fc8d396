//! The least of everything that this crate takes in, for tests.

use std::io::Write;

/// What the kernels here call themselves.
pub(crate) const RELEASE: &str = "6.1.0-9-cloud-amd64";

/// The least that is taken for a kernel.
pub(crate) fn vmlinux() -> Vec<u8> {
    let mut elf = vec![0; 120];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1), (64, 1)] {
        elf[at] = value;
    }
    elf.extend(format!("Linux version {RELEASE} (builder) #1\0").as_bytes());
    elf
}

/// The least that is taken for a guest's agent.
pub(crate) fn agent() -> Vec<u8> {
    let mut agent = vmlinux();
    agent[56] = 0;
    agent
}

/// A kernel module: an ELF file with what it says of itself, and nothing else.
pub(crate) fn module() -> Vec<u8> {
    let info = format!("vermagic={RELEASE} SMP mod_unload\0depends=\0alias=virtio:d*v*\0");
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 1), (18, 62), (20, 1), (52, 64), (58, 64), (60, 3), (62, 2)] {
        elf[at] = value;
    }
    let (info_at, names_at) = (elf.len(), elf.len() + info.len());
    elf.extend(info.as_bytes());
    elf.extend(names);
    let headers = elf.len() as u64;
    elf[40..48].copy_from_slice(&headers.to_le_bytes());
    let mut header = |name: u32, kind: u32, at: usize, length: usize| {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        elf.extend(header);
    };
    header(0, 0, 0, 0);
    header(1, 1, info_at, info.len());
    header(10, 3, names_at, names.len());
    elf
}

/// A boot image with `elf` in it, as the kernel's build makes one.
pub(crate) fn boot_image(elf: &[u8]) -> Vec<u8> {
    let mut packed = zstd::encode_all(elf, 1).unwrap();
    packed.extend(u32::try_from(elf.len()).unwrap().to_le_bytes());
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let version = format!("{RELEASE} (build) #1\0");
    image[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
    image[0x24c..0x250].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
    image.extend(packed);
    image
}

/// A tar with those files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A root file system with something in `/root`.
pub(crate) fn rootfs() -> Vec<u8> {
    tar(&[("root/.profile", &[b'p'; 9000]), ("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")])
}

/// A kernel's package with one module, as Debian's archive has them.
pub(crate) fn package() -> Vec<u8> {
    package_of(&vmlinux(), &[("virtio", &module())])
}

/// One with that kernel and those modules.
pub(crate) fn package_of(elf: &[u8], modules: &[(&str, &[u8])]) -> Vec<u8> {
    let boot_image = boot_image(elf);
    let mut files = vec![(format!("boot/vmlinuz-{RELEASE}"), boot_image.as_slice())];
    let module_path = |name: &str| format!("usr/lib/modules/{RELEASE}/kernel/{name}.ko");
    files.extend(modules.iter().map(|(name, module)| (module_path(name), *module)));
    let data = tar(&files.iter().map(|(path, content)| (path.as_str(), *content)).collect::<Vec<_>>());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&data).unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", b"2.0\n".to_vec()), ("data.tar.gz", gzip.finish().unwrap())] {
        deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).as_bytes());
        deb.extend(&content);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    deb
}
