use std::collections::BTreeMap;

use kube::core::CustomResourceExt as _;
use kube::core::cel::Validator;
use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};

use super::*;

fn schema_of(definition: &CustomResourceDefinition) -> Value {
    let schema = definition.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// Every place of a schema with the path of fields that leads there.
fn places<'a>(path: &str, schema: &'a Value, found: &mut BTreeMap<String, &'a Value>) {
    found.insert(path.to_owned(), schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        places(&format!("{path}.{name}"), property, found);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner) {
            places(&format!("{path}[]"), inner, found);
        }
    }
}

/// Runs `check` on every place of both kinds' schemas.
fn each_place(check: impl Fn(&str, &Value)) {
    for definition in definitions() {
        let schema = schema_of(&definition);
        let mut found = BTreeMap::new();
        places(&definition.spec.names.kind, &schema, &mut found);
        assert!(found.len() > 15);
        found.into_iter().for_each(|(path, place)| check(&path, place));
    }
}

#[test]
fn kinds_have_the_names_people_type() {
    let named = definitions().into_iter().map(|definition| {
        let names = definition.spec.names;
        (names.kind, names.plural, names.short_names.unwrap(), names.categories.unwrap())
    });
    let owned = |kind: &str, plural: &str, short: &str| {
        (kind.to_owned(), plural.to_owned(), vec![short.to_owned()], vec!["cronmill".to_owned()])
    };
    assert!(named.eq([owned("CronTask", "crontasks", "ct"), owned("TaskQueue", "taskqueues", "tq")]));
    assert_eq!(
        (CronTask::crd().spec.group.as_str(), CronTask::api_resource().version.as_str()),
        (GROUP, VERSION)
    );
}

#[test]
fn an_object_that_nobody_has_seen_has_a_status_about_none_of_its_generations() {
    for definition in definitions() {
        let schema = schema_of(&definition);
        let status = &schema["properties"]["status"];
        assert_eq!(status["default"], json!({ "observedGeneration": -1 }));
        assert!(status.get("required").is_none(), "its default is a whole one");
    }
}

#[test]
fn an_optional_field_is_never_nullable() {
    each_place(|path, place| assert_eq!(place.get("nullable"), None, "{path}"));
}

#[test]
fn an_api_server_knows_every_format() {
    each_place(|path, place| {
        if let Some(format) = place.get("format") {
            assert!(["int32", "int64", "date-time"].contains(&format.as_str().unwrap()), "{path}: {format}");
        }
    });
}

#[test]
fn every_field_is_explained() {
    each_place(|path, place| {
        assert!(place.get("description").is_some() || path.ends_with("[]"), "{path}");
    });
}

#[test]
fn every_pattern_has_a_meaning_in_words() {
    each_place(|path, place| {
        if let Some(pattern) = place.get("pattern").and_then(Value::as_str) {
            assert!(pattern_meaning(pattern).is_some(), "{path}: {pattern}");
        }
    });
}

#[test]
fn what_a_rule_reads_is_bounded() {
    // An API server refuses a rule over texts, lists and maps without a limit: it might run for ever.
    each_place(|path, place| {
        if place.get("x-kubernetes-validations").is_none() {
            return;
        }
        let limit = match place["type"].as_str() {
            Some("string") => "maxLength",
            Some("array") => "maxItems",
            Some("object") if place.get("additionalProperties").is_some() => "maxProperties",
            _ => return,
        };
        assert!(place.get(limit).is_some(), "{path} has no {limit}");
    });
}

/// The defaults that the schema writes into an object, from a place on down.
fn defaults(schema: &Value) -> Value {
    let mut object = schema.get("default").cloned().unwrap_or_else(|| json!({}));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = property.get("default") {
            let inner =
                if property.get("properties").is_some() { defaults(property) } else { default.clone() };
            assert_eq!(inner, *default, "{name}");
            object[name] = inner;
        }
    }
    object
}

#[test]
fn types_and_schema_agree_on_the_defaults() {
    let spec: CronTaskSpec =
        serde_json::from_value(json!({ "queueRef": { "name": "q" }, "task": { "type": "t" } })).unwrap();
    let schema = schema_of(&CronTask::crd());
    let properties = &schema["properties"]["spec"]["properties"];
    let mut expected = defaults(&schema["properties"]["spec"]);
    expected["queueRef"] = defaults(&properties["queueRef"]);
    expected["queueRef"]["name"] = "q".into();
    expected["task"] = defaults(&properties["task"]);
    expected["task"]["type"] = "t".into();
    assert_eq!(serde_json::to_value(spec).unwrap(), expected);

    let spec: TaskQueueSpec =
        serde_json::from_value(json!({ "queues": [{ "name": "q" }], "workers": {} })).unwrap();
    let schema = schema_of(&TaskQueue::crd());
    let properties = &schema["properties"]["spec"]["properties"];
    let mut expected = defaults(&schema["properties"]["spec"]);
    expected["workers"] = defaults(&properties["workers"]);
    expected["queues"] = json!([defaults(&properties["queues"]["items"])]);
    expected["queues"][0]["name"] = "q".into();
    assert_eq!(serde_json::to_value(spec).unwrap(), expected);
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let schema = schema_of(&CronTask::crd());
    let spec = defaults(&schema["properties"]["spec"]);
    assert_eq!(
        spec,
        json!({
            "timeZone": "UTC",
            "daylightSaving": { "gap": "After", "overlap": "First" },
            "concurrencyPolicy": "Allow",
            "suspend": false,
            "catchUp": { "policy": "Latest" },
            "jitter": "0s",
        })
    );
    let task = defaults(&schema["properties"]["spec"]["properties"]["task"]);
    assert_eq!(task, json!({ "maxRetry": 25, "timeout": "30m", "retention": "0s" }));

    let schema = schema_of(&TaskQueue::crd());
    let spec = &schema["properties"]["spec"];
    let dead_letter = json!({ "maxTasks": 10_000, "maxAge": "90d" });
    assert_eq!(
        defaults(spec),
        json!({ "priority": "Weighted", "lease": "30s", "deadLetter": dead_letter, "deletionPolicy": "Retain" })
    );
    assert_eq!(defaults(&spec["properties"]["deadLetter"]), dead_letter);
    let scaling = json!({ "minReplicas": 0, "maxReplicas": 10, "targetWait": "10s", "stabilization": "1m" });
    assert_eq!(defaults(&spec["properties"]["workers"]), json!({ "concurrency": 20, "scaling": scaling }));
}

#[test]
fn durations_are_read_in_every_unit() {
    for (text, seconds) in [
        ("0s", 0),
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604_800),
        ("1h30m", 5400),
        ("1d1s", 86_401),
    ] {
        assert_eq!(text.parse::<Duration>().map(Duration::as_secs), Ok(seconds), "{text}");
    }
}

#[test]
fn durations_print_in_the_largest_unit_that_fits() {
    for (text, printed) in [("90s", "90s"), ("300s", "5m"), ("1h30m", "90m"), ("48h", "2d"), ("0d", "0s")] {
        assert_eq!(text.parse::<Duration>().unwrap().to_string(), printed);
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in [
        "",
        "5",
        "s",
        "-5s",
        "5 m",
        "5m 3s",
        "1.5h",
        "3s5m",
        "1h1h",
        "5ms",
        "5µ",
        "10000d",
        "1234567890s",
        "٣s",
    ] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
    let error = "5 minutes".parse::<Duration>().unwrap_err();
    assert_eq!(error.to_string(), r#""5 minutes" is no duration; write it like 90s, 5m, 2h, 7d or 1h30m"#);
}

proptest! {
    #[test]
    fn the_schema_takes_exactly_the_durations_the_type_takes(
        text in "[0-9]{0,10}[dhms]?[0-9]{0,8}[hms]?[0-9]{0,3}[sd]?",
    ) {
        let schema = Regex::new(duration::PATTERN).unwrap();
        let is_taken = schema.is_match(&text) && (2..=29).contains(&text.len());
        prop_assert_eq!(is_taken, text.parse::<Duration>().is_ok());
    }

    #[test]
    fn a_printed_duration_reads_as_the_same(
        d in 0..=9_999, h in 0..=99_999, m in 0..=9_999_999, s in 0..=999_999_999,
    ) {
        let duration: Duration = format!("{d}d{h}h{m}m{s}s").parse().unwrap();
        prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
    }
}

/// What the rules of CronTask say about a spec, as an API server would before anything else looks at it.
fn broken_rules(mut spec: Value) -> Vec<String> {
    for (field, value) in [("queueRef", json!({ "name": "q" })), ("task", json!({ "type": "t" }))] {
        spec.as_object_mut().unwrap().entry(field).or_insert(value);
    }
    let object = json!({ "metadata": { "name": "x" }, "spec": spec });
    let verdict = Validator::new().validate(&schema_of(&CronTask::crd()), &object, None);
    verdict.err().into_iter().flatten().map(|error| error.to_string()).collect()
}

#[test]
fn a_schedule_has_the_shape_of_one() {
    for schedule in
        ["* * * * *", " 0  0 1 1 0 ", "0\t0 1 1\t0", "* * * * * *", "@daily", "@every 90s", "H H * * *"]
    {
        assert_eq!(broken_rules(json!({ "schedule": schedule })), [""; 0], "{schedule}");
        assert_eq!(broken_rules(json!({ "schedules": ["@daily", schedule] })), [""; 0], "{schedule}");
    }
    let shape = "must have five fields, or six with seconds, or begin with @ as in @daily";
    for schedule in [" ", "daily", "* * * *", "* * * * * * *", " @daily"] {
        assert_eq!(broken_rules(json!({ "schedule": schedule })), [format!("spec.schedule: {shape}")]);
        assert_eq!(
            broken_rules(json!({ "schedules": ["@daily", schedule] })),
            [format!("spec.schedules: {shape}")]
        );
    }
    let zone = "must not name a time zone; set timeZone instead";
    for schedule in ["TZ=UTC * * * * *", "@every TZ=1s"] {
        assert_eq!(broken_rules(json!({ "schedule": schedule })), [format!("spec.schedule: {zone}")]);
        assert_eq!(broken_rules(json!({ "schedules": [schedule] })), [format!("spec.schedules: {zone}")]);
    }
}

#[test]
fn one_of_schedule_and_schedules_is_set() {
    let said = "spec: set exactly one of schedule and schedules";
    assert_eq!(broken_rules(json!({})), [said]);
    assert_eq!(broken_rules(json!({ "schedule": "@daily", "schedules": ["@daily"] })), [said]);
}

#[test]
fn more_than_zero_is_told_in_every_unit() {
    for (timeout, is_taken) in [
        ("0s", false),
        ("00d", false),
        ("0d0h0m0s", false),
        ("1s", true),
        ("10d", true),
        ("0d0h0m1s", true),
        ("1d0s", true),
        ("9999d99999h9999999m999999999s", true),
    ] {
        let broken =
            broken_rules(json!({ "schedule": "@daily", "task": { "type": "t", "timeout": timeout } }));
        assert_eq!(broken.is_empty(), is_taken, "{timeout}: {broken:?}");
    }
}
