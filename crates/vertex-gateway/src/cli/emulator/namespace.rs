//! A network of its own for a command: this process starts again in it.
//!
//! The programs `unshare`, `ip` and `mount` make the namespaces, because the system calls need
//! `unsafe` code here. The last of them becomes this program again, with the same process id.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::ValueEnum as _;

use super::EmulatorOptions;
use crate::error::Error;

/// The variable that names the folder with the files of the namespaces. It is set for this program
/// in its namespaces only.
pub(super) const FOLDER: &str = "VERTEX_EMULATOR_FOLDER_OF_NAMESPACES";
/// The begin of the folder's name.
const PREFIX: &str = "vertex-emulator-";

/// The folder, if this process is in the namespaces. It is deleted at the end, so no folder with
/// another name is accepted.
pub(super) fn entered() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let is_ours = folder.file_name()?.to_str()?.starts_with(PREFIX);
    is_ours.then_some(folder)
}

/// The files of the system's root certificates on the distributions of Linux.
const ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Prepares the namespaces, and then runs its arguments. The first argument is the folder.
const SETUP: &str = r#"set -e
folder=$1
shift
users_path=$PATH
PATH=$PATH:/usr/sbin:/sbin
ip link set lo up
ip address add 169.254.169.254/32 dev lo
mount --bind "$folder/hosts" /etc/hosts
if [ -e "$folder/nsswitch.conf" ]; then mount --bind "$folder/nsswitch.conf" /etc/nsswitch.conf; fi
while [ "$1" != -- ]; do
    mount --bind "$folder/roots.pem" "$1"
    shift
done
shift
PATH=$users_path
exec "$@""#;

/// Starts this program again in the namespaces. Returns only if that fails.
pub(super) fn enter(options: &EmulatorOptions) -> Error {
    let folder = match make_folder() {
        Ok(folder) => folder,
        Err(error) => {
            let temporary = std::env::temp_dir();
            return Error::new(format!(
                "--as-google needs a folder in {}: {error}; TMPDIR names another",
                temporary.display()
            ));
        }
    };
    let error = enter_with(&folder, options);
    let _ = fs::remove_dir_all(&folder);
    error
}

fn enter_with(folder: &Path, options: &EmulatorOptions) -> Error {
    let user = match fs::metadata("/proc/self") {
        Ok(own) => (own.uid(), own.gid()),
        Err(error) => return Error::new(format!("--as-google needs /proc: {error}")),
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Error::new(format!("--as-google: this program has no path: {error}")),
    };
    let namespaces = match possible_namespaces(folder, user) {
        Ok(namespaces) => namespaces,
        Err(error) => return error,
    };
    let mut again = vec![program.into_os_string()];
    again.extend(["emulator", "--as-google"].map(Into::into));
    if let Some(choice) = options.credential.and_then(|choice| choice.to_possible_value()) {
        again.extend(["--credential", choice.get_name()].map(Into::into));
    }
    if let Some(models) = &options.models {
        again.extend(["--models".into(), models.into()]);
    }
    for (option, names) in [("--location", &options.location), ("--project", &options.project)] {
        if !names.is_empty() {
            again.extend([option.into(), names.join(",").into()]);
        }
    }
    again.push("--".into());
    again.extend(namespaces.prefix(user));
    again.extend(options.command.iter().cloned());
    let error = namespaces.command(folder, &again).exec();
    Error::new(format!("--as-google cannot run unshare: {error}"))
}

/// How the namespaces are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespaces {
    /// Root makes them.
    OfRoot,
    /// A user makes them, who becomes root in a namespace for users. The command is the user again.
    OfUser,
}

impl Namespaces {
    fn command(self, folder: &Path, program: &[OsString]) -> Command {
        let mut command = Command::new("unshare");
        if self == Self::OfUser {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--net", "sh", "-c", SETUP, "sh"]).arg(folder);
        command.args(ROOTS.into_iter().filter(|file| Path::new(file).is_file()));
        command.arg("--").args(program).env(FOLDER, folder);
        command
    }

    /// The arguments that make the command's process the user again.
    fn prefix(self, (uid, gid): (u32, u32)) -> Vec<OsString> {
        if self == Self::OfRoot || uid == 0 {
            return Vec::new();
        }
        let ids = [format!("--map-user={uid}"), format!("--map-group={gid}")];
        ["unshare".into(), "--user".into()].into_iter().chain(ids.map(Into::into)).collect()
    }
}

/// Tries out the namespaces, with everything that is done in them.
fn possible_namespaces(folder: &Path, user: (u32, u32)) -> Result<Namespaces, Error> {
    let kinds = if user.0 == 0 {
        &[Namespaces::OfRoot, Namespaces::OfUser][..]
    } else {
        &[Namespaces::OfUser]
    };
    let mut first = None;
    for kind in kinds {
        let mut program = kind.prefix(user);
        program.push("true".into());
        let tried = kind.command(folder, &program).stdin(Stdio::null()).output();
        let why = match tried {
            Ok(output) if output.status.success() => return Ok(*kind),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(
                    "--as-google needs the program unshare: install util-linux, and iproute2 for \
                     ip",
                ));
            }
            Err(error) => format!("unshare: {error}"),
        };
        first.get_or_insert(why);
    }
    let why = first.unwrap_or_default();
    Err(Error::new(format!(
        "--as-google cannot make a network for the command: {why}. Run it as root, or let users make \
         namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 \
         user.max_user_namespaces=10000. A container needs --cap-add SYS_ADMIN --cap-add NET_ADMIN. \
         The programs unshare and mount (util-linux) and ip (iproute2) are needed as well"
    )))
}

/// Makes the folder with the files of the namespaces. Others may read it, because the command may
/// run programs as other users; nothing in it is valid outside the emulator.
fn make_folder() -> io::Result<PathBuf> {
    let mut tries = 0..100;
    let folder = loop {
        let number = tries.next().ok_or(io::ErrorKind::AlreadyExists)?;
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o755).create(&folder) {
            Ok(()) => break folder,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    };
    write(&folder, "hosts", &fs::read("/etc/hosts")?, 0o644)?;
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let roots =
        own.into_iter().chain(ROOTS.map(PathBuf::from)).find_map(|file| fs::read(file).ok());
    write(&folder, "roots.pem", &roots.unwrap_or_default(), 0o644)?;
    // A resolver that is a service of the machine would not read the hosts of this namespace.
    if let Ok(switch) = fs::read_to_string("/etc/nsswitch.conf") {
        let lines = switch.lines().map(|line| match line.trim_start().starts_with("hosts:") {
            true => "hosts: files dns\n".to_owned(),
            false => format!("{line}\n"),
        });
        write(&folder, "nsswitch.conf", lines.collect::<String>().as_bytes(), 0o644)?;
    }
    Ok(folder)
}

/// Writes a file of the folder. A file that exists keeps its inode, because it may be mounted.
pub(super) fn write(folder: &Path, name: &str, text: &[u8], mode: u32) -> io::Result<()> {
    let path = folder.join(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode).open(path)?.write_all(text)
}
