//! Everything that crosses the seam, one line each: what a reviewer sees of a change, and what tells builds apart.

use anyhow::Result;
use camino::Utf8Path;
use uniffi_bindgen::macro_metadata::extract_from_library;
use uniffi_meta::{EnumMetadata, FieldMetadata, FnParamMetadata, Metadata, Type};

/// The surface of a built library: sorted, independent of where things stand in the source. Order of fields and variants counts, for they
/// are written in it.
///
/// # Errors
/// The file cannot be read, or has no metadata (it was stripped).
pub fn surface(library: &Utf8Path) -> Result<String> {
    let mut entries: Vec<String> = extract_from_library(library)?.iter().filter_map(entry).collect();
    anyhow::ensure!(!entries.is_empty(), "{library} has no UniFFI metadata: was it stripped?");
    entries.sort();
    Ok(entries.concat())
}

/// The number of a surface in `sdk_version`: FNV-1a, folded to 32 bits.
#[must_use]
pub fn fingerprint(surface: &str) -> u32 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = surface.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    (hash ^ (hash >> 32)) as u32
}

fn entry(item: &Metadata) -> Option<String> {
    Some(match item {
        Metadata::Func(found) => {
            let call = call(&found.name, found.is_async, &found.inputs, found.return_type.as_ref(), found.throws.as_ref());
            format!("fn {call}\n")
        }
        Metadata::Object(found) => format!("object {}\n", found.name),
        Metadata::CallbackInterface(found) => format!("callback {}\n", found.name),
        Metadata::Record(found) => format!("record {} {{ {} }}\n", found.name, fields(&found.fields)),
        Metadata::Enum(found) => variants(found),
        Metadata::Constructor(found) => {
            let call = call(&found.name, found.is_async, &found.inputs, None, found.throws.as_ref());
            format!("object {}: constructor {call}\n", found.self_name)
        }
        Metadata::Method(found) => {
            let call = call(&found.name, found.is_async, &found.inputs, found.return_type.as_ref(), found.throws.as_ref());
            format!("object {}: {call}\n", found.self_name)
        }
        Metadata::TraitMethod(found) => {
            let call = call(&found.name, found.is_async, &found.inputs, found.return_type.as_ref(), found.throws.as_ref());
            format!("object {}: callback {} {call}\n", found.trait_name, found.index)
        }
        Metadata::CustomType(found) => format!("custom {} = {}\n", found.name, name(&found.builtin)),
        Metadata::Namespace(_) | Metadata::UdlFile(_) | Metadata::UniffiTrait(_) | Metadata::ObjectTraitImpl(_) => return None,
    })
}

fn call(function: &str, is_async: bool, inputs: &[FnParamMetadata], returns: Option<&Type>, throws: Option<&Type>) -> String {
    let input = |input: &FnParamMetadata| {
        let by = if input.by_ref { "&" } else { "" };
        let default = input.default.as_ref().map(|default| format!(" = {default:?}")).unwrap_or_default();
        format!("{}: {by}{}{default}", input.name, name(&input.ty))
    };
    let inputs: Vec<String> = inputs.iter().map(input).collect();
    let returns = returns.map(|returns| format!(" -> {}", name(returns))).unwrap_or_default();
    let throws = throws.map(|throws| format!(" throws {}", name(throws))).unwrap_or_default();
    let is_async = if is_async { "async " } else { "" };
    format!("{is_async}{function}({}){returns}{throws}", inputs.join(", "))
}

fn fields(fields: &[FieldMetadata]) -> String {
    let field = |field: &FieldMetadata| {
        let default = field.default.as_ref().map(|default| format!(" = {default:?}")).unwrap_or_default();
        format!("{}: {}{default}", field.name, name(&field.ty))
    };
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

fn variants(found: &EnumMetadata) -> String {
    let kind = if found.shape.is_error() { "error" } else { "enum" };
    let lines = found.variants.iter().map(|variant| {
        let fields = fields(&variant.fields);
        let fields = if fields.is_empty() { String::new() } else { format!(" {{ {fields} }}") };
        format!("    {}{fields}\n", variant.name)
    });
    format!("{kind} {}\n{}", found.name, lines.collect::<String>())
}

fn name(found: &Type) -> String {
    match found {
        Type::Optional { inner_type } => format!("{}?", name(inner_type)),
        Type::Sequence { inner_type } => format!("[{}]", name(inner_type)),
        Type::Box { inner_type } => name(inner_type),
        other => other.name().map_or_else(|| format!("{other:?}").to_lowercase(), str::to_owned),
    }
}
