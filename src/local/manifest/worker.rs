//! The program of a worker, from its pod template.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{Fault, FaultKind};
use super::schema::Node;
use crate::document::FieldPath;

/// What runs as one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerProgram {
    /// The bundled worker.
    Bundled,
    /// The first container of a pod template.
    Container(Container),
    /// A workload that only a cluster has: nothing is started for it.
    Target,
}

/// What of a container makes sense without a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<EnvVar>,
    working_dir: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct EnvVar {
    name: String,
    #[serde(default)]
    value: String,
}

/// A program with its arguments and environment, ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables to set, beside those it inherits.
    pub environment: BTreeMap<String, String>,
    /// Where it runs; `None`: where we run.
    pub folder: Option<String>,
}

impl Container {
    /// The command line, with `added` in its environment; a variable of `added` stands above one of the same
    /// name in the template. `$(NAME)` means what it means in a pod: the variable's value, or itself where
    /// there is no such variable; `$$` is a `$`.
    #[must_use]
    pub fn command_line(&self, added: &BTreeMap<String, String>) -> CommandLine {
        let mut environment = added.clone();
        for EnvVar { name, value } in &self.env {
            if !added.contains_key(name) {
                environment.insert(name.clone(), expand(value, &environment));
            }
        }
        let mut words = self.command.iter().chain(&self.args).map(|word| expand(word, &environment));
        let program = words.next().expect("a template without a command is refused when it is read");
        CommandLine { program, arguments: words.collect(), folder: self.working_dir.clone(), environment }
    }
}

fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let (mut expanded, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let named = rest.strip_prefix('(').and_then(|name| name.split_once(')'));
        match (named, rest.strip_prefix('$')) {
            (_, Some(after)) => {
                expanded.push('$');
                rest = after;
            }
            (Some((name, after)), _) if environment.contains_key(name) => {
                expanded.push_str(&environment[name]);
                rest = after;
            }
            _ => expanded.push('$'),
        }
    }
    expanded + rest
}

/// Reads pod templates.
#[derive(Debug)]
pub(super) struct TemplateReader {
    schema: Node,
}

impl TemplateReader {
    pub(super) fn new() -> Self {
        let text = || json!({ "type": "string" });
        let texts = json!({ "type": "array", "items": text() });
        let variable = json!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "required": ["name"],
            "properties": { "name": { "type": "string", "minLength": 1, "maxLength": 1024 }, "value": text() },
        });
        let container = json!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "command": texts,
                "args": texts,
                "env": { "type": "array", "items": variable },
                "workingDir": text(),
            },
        });
        let schema = json!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "required": ["spec"],
            "properties": { "spec": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "required": ["containers"],
                "properties": { "containers": { "type": "array", "minItems": 1, "items": container } },
            } },
        });
        Self { schema: Node::compile(&schema).expect("the schema above is written with known keywords") }
    }

    /// The program of a template; `None` is the bundled worker.
    pub(super) fn read(&self, template: Option<&Map<String, Value>>) -> Result<WorkerProgram, Vec<Fault>> {
        let Some(template) = template else { return Ok(WorkerProgram::Bundled) };
        let (mut template, mut faults) = (Value::Object(template.clone()), Vec::new());
        let path = FieldPath::of(&["spec", "workers", "template"]);
        self.schema.fill(&mut template);
        self.schema.check(&template, &path, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let path = path.key("spec").key("containers").index(0);
        let container = template.pointer("/spec/containers/0").cloned().unwrap_or_default();
        faults.extend(cluster_only(&container, &path));
        match serde_json::from_value(container) {
            Ok(container) if faults.is_empty() => Ok(WorkerProgram::Container(container)),
            Ok(_) => Err(faults),
            // The schema has let it pass, so all that can be amiss is an absent command.
            Err(_) => {
                let fault = Fault::new(
                    path.key("command"),
                    FaultKind::NeedsCluster,
                    "an image cannot be run without a cluster",
                );
                Err(vec![fault.allowing("a command to run as a process")])
            }
        }
    }
}

/// What a container asks for that nothing here can give.
fn cluster_only(container: &Value, path: &FieldPath) -> Vec<Fault> {
    let refused =
        |path, message| Fault::new(path, FaultKind::NeedsCluster, message).allowing("variables with a value");
    let mut faults = Vec::new();
    if container.get("envFrom").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        faults.push(refused(path.key("envFrom"), "cannot be read without a cluster"));
    }
    for (place, variable) in container.get("env").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        if variable.get("valueFrom").is_some() {
            let path = path.key("env").index(place).key("valueFrom");
            faults.push(refused(path, "cannot be read without a cluster"));
        }
    }
    if container.get("command").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        faults.push(
            Fault::new(path.key("command"), FaultKind::InvalidValue, "is empty")
                .allowing("a program and its arguments"),
        );
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(template: Value) -> Result<WorkerProgram, Vec<String>> {
        let shown = |fault: Fault| format!("{}: {}; {}", fault.path, fault.message, fault.allowed);
        let result = TemplateReader::new().read(template.as_object());
        result.map_err(|faults| faults.into_iter().map(shown).collect())
    }

    fn container(container: Value) -> Result<WorkerProgram, Vec<String>> {
        read(
            json!({ "metadata": { "labels": {} }, "spec": { "nodeSelector": {}, "containers": [container] } }),
        )
    }

    fn added() -> BTreeMap<String, String> {
        BTreeMap::from([("CRONMILL_CONCURRENCY".to_owned(), "20".to_owned())])
    }

    #[test]
    fn no_template_means_the_bundled_worker() {
        assert_eq!(TemplateReader::new().read(None), Ok(WorkerProgram::Bundled));
    }

    #[test]
    fn variables_are_expanded_as_in_a_pod() {
        let program = container(json!({
            "name": "worker", "image": "shop", "workingDir": "/srv",
            "command": ["shop-worker", "--slots=$(CRONMILL_CONCURRENCY)"],
            "args": ["$(GREETING)", "$(UNKNOWN)", "$$(GREETING)", "5$", "last"],
            "env": [
                { "name": "NAME", "value": "Ada" },
                { "name": "GREETING", "value": "hello $(NAME)" },
                { "name": "EMPTY" },
                { "name": "CRONMILL_CONCURRENCY", "value": "1" },
            ],
        }));
        let Ok(WorkerProgram::Container(container)) = program else { panic!("{program:?}") };
        let line = container.command_line(&added());
        assert_eq!(line.program, "shop-worker");
        assert_eq!(line.arguments, ["--slots=20", "hello Ada", "$(UNKNOWN)", "$(GREETING)", "5$", "last"]);
        assert_eq!(line.folder.as_deref(), Some("/srv"));
        let expected =
            [("CRONMILL_CONCURRENCY", "20"), ("EMPTY", ""), ("GREETING", "hello Ada"), ("NAME", "Ada")];
        assert_eq!(line.environment, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn an_image_alone_is_refused() {
        assert_eq!(container(json!({ "name": "worker", "image": "shop" })), Err(vec![
            "spec.workers.template.spec.containers[0].command: an image cannot be run without a cluster; a command to run as a process".to_owned()
        ]));
    }

    #[test]
    fn an_empty_command_is_refused() {
        assert_eq!(
            container(json!({ "command": [] })),
            Err(vec![
                "spec.workers.template.spec.containers[0].command: is empty; a program and its arguments"
                    .to_owned()
            ])
        );
    }

    #[test]
    fn values_that_only_a_cluster_has_are_refused_without_being_shown() {
        let faults = container(json!({
            "command": ["w"],
            "envFrom": [{ "secretRef": { "name": "s" } }],
            "env": [{ "name": "A", "value": "x" }, { "name": "B", "valueFrom": { "fieldRef": {} } }, { "name": "C", "value": 7 }],
        }));
        assert_eq!(
            faults,
            Err(vec![
                "spec.workers.template.spec.containers[0].env[2].value: is a number; a text needs quotes here; a text".to_owned()
            ])
        );
        let faults = container(json!({
            "command": ["w"],
            "envFrom": [{ "secretRef": { "name": "s" } }],
            "env": [{ "name": "B", "valueFrom": { "fieldRef": {} } }],
        }));
        assert_eq!(faults, Err(vec![
            "spec.workers.template.spec.containers[0].envFrom: cannot be read without a cluster; variables with a value".to_owned(),
            "spec.workers.template.spec.containers[0].env[0].valueFrom: cannot be read without a cluster; variables with a value".to_owned(),
        ]));
    }

    #[test]
    fn a_template_without_containers_is_refused() {
        assert_eq!(
            read(json!({ "spec": {} })),
            Err(vec![
                "spec.workers.template.spec.containers: is missing; a list of at least 1 entries".to_owned()
            ])
        );
    }
}
