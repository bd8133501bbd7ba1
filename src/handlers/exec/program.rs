//! Which programs tasks may start.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::process::Command;

use super::error::ExecConfigError;

/// Programs by name, one on each line: `backup=/opt/backup --full`, or `backup=["/opt/backup","--full"]`.
///
/// Words are separated by blanks. What a shell would do something about is refused there: no shell reads it. The
/// second form takes every text as it stands.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExecPrograms(BTreeMap<String, Program>);

/// A program and its arguments.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

/// Characters that mean something to a shell.
const FOR_A_SHELL: &[char] = &[
    '"', '\'', '`', '\\', '$', '|', '&', ';', '<', '>', '(', ')', '{', '}', '[', ']', '*', '?', '~', '!', '#',
];

impl Program {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let words: Vec<String> = if text.starts_with('[') {
            serde_json::from_str(text).map_err(|_| "it begins with [ and is no JSON array of texts")?
        } else if text.contains(FOR_A_SHELL) {
            return Err(
                "no shell reads it; characters that mean something to one stand in the form [\"…\",\"…\"] only",
            );
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        let mut words = words.into_iter();
        let path = words.next().map(PathBuf::from).filter(|path| path.is_absolute());
        let path = path.ok_or("its program is no absolute path")?;
        let arguments: Vec<String> = words.collect();
        if path.as_os_str().as_encoded_bytes().contains(&0)
            || arguments.iter().any(|text| text.contains('\0'))
        {
            return Err("it has a null character");
        }
        Ok(Self { path, arguments })
    }

    fn check(&self) -> io::Result<()> {
        let about = fs::metadata(&self.path)?;
        let is_program = about.is_file() && about.permissions().mode() & 0o111 != 0;
        is_program.then_some(()).ok_or_else(|| io::Error::other("it is no file that may be executed"))
    }
}

impl ExecPrograms {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds others.
    ///
    /// # Errors
    /// [`ExecConfigError::Duplicate`] when a name stands in both.
    pub fn extend(&mut self, others: Self) -> Result<(), ExecConfigError> {
        for (name, program) in others.0 {
            if self.0.insert(name.clone(), program).is_some() {
                return Err(ExecConfigError::Duplicate { name });
            }
        }
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<(&str, &Program)> {
        self.0.get_key_value(name).map(|(name, program)| (name.as_str(), program))
    }

    /// Looks whether each can be started as far as one can tell.
    pub(super) fn check(&self) -> Result<(), ExecConfigError> {
        self.0.iter().try_for_each(|(name, program)| {
            let refused = |source| ExecConfigError::NoProgram {
                name: name.clone(),
                path: program.path.clone(),
                source,
            };
            program.check().map_err(refused)
        })
    }
}

impl FromStr for ExecPrograms {
    type Err = ExecConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut programs = Self::default();
        for (place, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            let wrong = |problem| ExecConfigError::Program { line: place + 1, problem };
            let (name, words) = line.split_once('=').ok_or_else(|| wrong("it has no ="))?;
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
            if name.is_empty() || !name.chars().all(fits) {
                return Err(wrong("its name has other characters"));
            }
            let program = Program::parse(words.trim()).map_err(wrong)?;
            programs.extend(Self(BTreeMap::from([(name.to_owned(), program)])))?;
        }
        Ok(programs)
    }
}

/// Shows the names only.
impl fmt::Debug for ExecPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(programs: &ExecPrograms, name: &str) -> Vec<String> {
        let (_, program) = programs.get(name).unwrap();
        let path = program.path.to_str().unwrap().to_owned();
        std::iter::once(path).chain(program.arguments.iter().cloned()).collect()
    }

    #[test]
    fn programs_are_read_in_both_forms() {
        let text = "backup=/opt/backup --full  -x=1,2\n\n  odd = \n";
        assert!(text.parse::<ExecPrograms>().is_err(), "a blank behind a name is none of its characters");
        let text =
            "backup=/opt/backup --full  -x=1,2\n\n  odd=[\"/bin/sh\", \"-c\", \"echo $1 | wc\", \"\"]\r\n";
        let programs: ExecPrograms = text.parse().unwrap();
        assert_eq!(words(&programs, "backup"), ["/opt/backup", "--full", "-x=1,2"]);
        assert_eq!(words(&programs, "odd"), ["/bin/sh", "-c", "echo $1 | wc", ""]);
        assert_eq!(programs.names().collect::<Vec<_>>(), ["backup", "odd"]);
        assert!("".parse::<ExecPrograms>().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_program_is_refused_with_its_line() {
        for (text, part) in [
            ("a=/x\nb", "line 2: it has no ="),
            ("=/x", "its name has other characters"),
            ("A=/x", "its name has other characters"),
            ("a:b=/x", "its name has other characters"),
            ("a=", "no absolute path"),
            ("a=x", "no absolute path"),
            ("a=./x", "no absolute path"),
            ("a=[\"x\"]", "no absolute path"),
            ("a=[]", "no absolute path"),
            ("a=[1]", "no JSON array of texts"),
            ("a=[\"/x\"", "no JSON array of texts"),
            ("a=[\"/x\\u0000\"]", "null character"),
            ("a=/x \"b c\"", "no shell reads it"),
            ("a=/x $HOME", "no shell reads it"),
            ("a=/x > y", "no shell reads it"),
            ("a=/x\na=/y", "program a is named twice"),
        ] {
            let error = text.parse::<ExecPrograms>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn only_a_file_that_may_be_executed_is_a_program() {
        let check =
            |text: &str| text.parse::<ExecPrograms>().unwrap().check().map_err(|error| error.to_string());
        assert_eq!(check("a=/bin/sh"), Ok(()));
        for path in ["/nowhere/at-all", "/etc/passwd", "/usr"] {
            let error = check(&format!("a={path}")).unwrap_err();
            assert!(error.contains("program a") && error.contains(path), "{error}");
        }
    }
}
