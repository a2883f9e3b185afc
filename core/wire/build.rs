//! Compiles the schema with a pure-Rust compiler (no `protoc`, nothing downloaded, nothing generated is committed) and gives every
//! generated type its JSON form: enums by name, bytes as base64, oneofs as one externally tagged object.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

/// The one package of the schema.
const PACKAGE: &str = "segue.v1";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto/segue.proto");
    let descriptors = protox::compile(["proto/segue.proto"], ["proto"]).map_err(io::Error::other)?;
    let mut config = prost_build::Config::new();
    let mut json = String::new();
    for file in descriptors.file.iter().filter(|file| file.package() == PACKAGE) {
        file.message_type.iter().for_each(|message| add_message(&mut config, &mut json, message));
        file.enum_type.iter().for_each(|declared| add_enum(&mut json, declared));
    }
    write_json_impls(&json)?;
    config.compile_fds(descriptors)
}

fn write_json_impls(json: &str) -> io::Result<()> {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| io::Error::other("cargo did not set OUT_DIR"))?;
    fs::write(out.join("json_names.rs"), json)
}

fn add_message(config: &mut prost_build::Config, json: &mut String, message: &DescriptorProto) {
    let path = format!("{PACKAGE}.{}", message.name());
    config.message_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]");
    // A body stands for its oneof: `{"description":{..}}`.
    let transparent = message.name() == "SignalBody";
    config.message_attribute(&path, if transparent { "#[serde(transparent)]" } else { "#[serde(default)]" });
    for oneof in &message.oneof_decl {
        let oneof_path = format!("{path}.{}", oneof.name());
        config.type_attribute(&oneof_path, "#[derive(serde::Serialize, serde::Deserialize)]");
        config.type_attribute(&oneof_path, "#[serde(rename_all = \"snake_case\")]");
        config.field_attribute(&oneof_path, "#[serde(deserialize_with = \"crate::json::one_of\")]");
        let rust = format!("crate::proto::{}::{}", snake(message.name()), camel(oneof.name()));
        let names = message.field.iter().filter(|field| field.oneof_index.is_some()).map(FieldDescriptorProto::name);
        let _ =
            writeln!(json, "impl crate::json::OneOf for {rust} {{ const NAMES: &[&str] = &{:?}; }}", names.collect::<Vec<_>>());
    }
    for field in message.field.iter().filter(|field| field.oneof_index.is_none()) {
        if let Some(attribute) = json_field(message, field) {
            config.field_attribute(format!("{path}.{}", field.name()), attribute);
        }
    }
}

fn json_field(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<String> {
    let repeated = field.label() == Label::Repeated;
    match field.r#type() {
        Type::Enum => {
            assert!(!repeated, "repeated enums have no JSON form yet");
            let name = field.type_name().rsplit('.').next()?;
            Some(format!("#[serde(with = \"crate::json::Named::<crate::proto::{name}>\")]"))
        }
        Type::Bytes if message.name() == "Signal" && field.name() == "body" => {
            Some("#[serde(with = \"crate::json::body\")]".to_owned())
        }
        Type::Bytes => {
            assert!(!repeated, "repeated bytes have no JSON form yet");
            Some("#[serde(with = \"crate::json::base64\")]".to_owned())
        }
        Type::Message if !repeated && field.name() == "self" => {
            Some("#[serde(rename = \"self\", skip_serializing_if = \"Option::is_none\")]".to_owned())
        }
        Type::Message if !repeated => Some("#[serde(skip_serializing_if = \"Option::is_none\")]".to_owned()),
        _ => None,
    }
}

fn add_enum(json: &mut String, declared: &EnumDescriptorProto) {
    let name = declared.name();
    let prefix = format!("{}_", snake(name).to_uppercase());
    let _ = writeln!(
        json,
        "impl crate::json::JsonName for crate::proto::{name} {{ const PREFIX: &str = {prefix:?}; \
         fn proto_name(self) -> &'static str {{ self.as_str_name() }} \
         fn from_proto_name(name: &str) -> Option<Self> {{ Self::from_str_name(name) }} }}"
    );
}

fn snake(camel: &str) -> String {
    let mut out = String::new();
    for (at, letter) in camel.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn camel(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| word.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }))
        .collect()
}
