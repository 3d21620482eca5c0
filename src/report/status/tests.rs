use super::*;
use crate::command::Failure;

#[test]
fn what_nobody_knows_is_said_to_be_unknown() {
    let text = include_str!("../../../inventory/minimal.yml");
    let formation = crate::inventory::parse("m.yml", text, "".as_ref()).unwrap();
    let failure = Failure::Unreachable { reason: "no route to host".into(), hint: String::new() };
    let facts = Facts {
        hosts: formation.servers().map(|s| (s.name.clone(), Sight::Unreachable(failure.clone()))).collect(),
    };
    let status = Status::new(&formation, &Scope::whole(), &facts, jiff::civil::date(2026, 1, 1));
    let expected = "\
formation default, monitor unknown
Name             Node     Host:Port             TLI: LSN  Connection  Recovery  Lag      Reported  Assigned  Health   Keeper pid  Postgres pid  Cert days
mon1.db.example  monitor  mon1.db.example:5432  -         -           -         -        -         -         -        unknown     unknown       unknown
pg1.db.example   0        pg1.db.example:5432   unknown   unknown     unknown   unknown  unknown   unknown   unknown  unknown     unknown       unknown
pg2.db.example   0        pg2.db.example:5432   unknown   unknown     unknown   unknown  unknown   unknown   unknown  unknown     unknown       unknown
note: mon1.db.example, pg1.db.example, pg2.db.example: unreachable: no route to host
not settled
";
    assert_eq!(status.text(Paint::Plain), expected);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["servers"][1]["row"], "unknown");
    assert_eq!(json["servers"][0]["row"], serde_json::Value::Null);
}
