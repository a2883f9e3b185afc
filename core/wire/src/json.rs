//! The JSON form of the messages: the same fields by the same names, enums by their short names (`"OFFER"`), bytes as base64,
//! oneofs as an object with one key, a signal's body as an object. Unknown fields are ignored, unknown kinds of message too (they
//! read as no message, as in protobuf), unknown enum names read as unspecified.

use std::fmt;
use std::marker::PhantomData;

use prost::Message as _;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::proto::SignalBody;

include!(concat!(env!("OUT_DIR"), "/json_names.rs"));

/// An enum of the schema with its names. Implemented for all of them by the build script.
pub trait JsonName: Copy + TryFrom<i32> + Into<i32> {
    /// What every proto name of this enum starts with.
    const PREFIX: &str;
    /// The name in the schema.
    fn proto_name(self) -> &'static str;
    /// By the name in the schema.
    fn from_proto_name(name: &str) -> Option<Self>;
}

/// A oneof of the schema. Implemented for all of them by the build script.
pub trait OneOf {
    /// The field names of its members.
    const NAMES: &[&str];
}

/// An enum field: prost holds the number, JSON shows the name without the enum's prefix.
pub struct Named<E>(PhantomData<E>);

impl<E: JsonName> Named<E> {
    /// The short name, or the number where this version has no name for it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        match E::try_from(*number) {
            Ok(known) => serializer.serialize_str(known.proto_name().trim_start_matches(E::PREFIX)),
            Err(_) => serializer.serialize_i32(*number),
        }
    }

    /// From the short name, the full name or the number.
    ///
    /// # Errors
    /// Where it is neither a string nor a number of 32 bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        deserializer.deserialize_any(NameVisitor::<E>(PhantomData))
    }
}

struct NameVisitor<E>(PhantomData<E>);

impl<E: JsonName> Visitor<'_> for NameVisitor<E> {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name or the number of an enum value")
    }

    fn visit_str<R: de::Error>(self, name: &str) -> Result<i32, R> {
        let known = E::from_proto_name(name).or_else(|| E::from_proto_name(&format!("{}{name}", E::PREFIX)));
        Ok(known.map_or(0, Into::into))
    }

    fn visit_u64<R: de::Error>(self, number: u64) -> Result<i32, R> {
        i32::try_from(number).map_err(|_| R::custom("enum number out of range"))
    }

    fn visit_i64<R: de::Error>(self, number: i64) -> Result<i32, R> {
        i32::try_from(number).map_err(|_| R::custom("enum number out of range"))
    }
}

/// Reads a oneof: the member whose name is known, none where no name is.
///
/// # Errors
/// Where the value is not an object or a known member does not read.
pub fn one_of<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: OneOf + Deserialize<'de>,
{
    struct Members<T>(PhantomData<T>);

    impl<'de, T: OneOf + Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with one key, the kind of message")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<T>, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<String>()? {
                if found.is_none() && T::NAMES.contains(&key.as_str()) {
                    found = Some(T::deserialize(de::value::EnumAccessDeserializer::new(Member { key: &key, map: &mut map }))?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }

        fn visit_unit<R: de::Error>(self) -> Result<Option<T>, R> {
            Ok(None)
        }
    }

    deserializer.deserialize_any(Members(PhantomData))
}

struct Member<'k, 'm, A> {
    key: &'k str,
    map: &'m mut A,
}

impl<'de, A: MapAccess<'de>> de::EnumAccess<'de> for Member<'_, '_, A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), A::Error> {
        let name: StrDeserializer<'_, A::Error> = self.key.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, A: MapAccess<'de>> de::VariantAccess<'de> for Member<'_, '_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.map.next_value()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, A::Error> {
        Err(de::Error::custom("members of a oneof are messages"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, A::Error> {
        Err(de::Error::custom("members of a oneof are messages"))
    }
}

/// Bytes as standard base64 with padding.
pub mod base64 {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// As text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// From text.
    ///
    /// # Errors
    /// Where it is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| serde::de::Error::custom("not base64"))
    }
}

/// A signal's body: an object in JSON, its encoded message in protobuf. An encoded body of a kind this version does not know stays what it
/// is, as base64; an object of a kind it does not know has no encoded form and reads as no body at all, which a relay refuses.
pub mod body {
    use super::*;

    /// As an object where it reads, as base64 otherwise.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match SignalBody::decode(bytes) {
            Ok(body) if body.body.is_some() => body.serialize(serializer),
            _ => super::base64::serialize(bytes, serializer),
        }
    }

    /// From an object or base64.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_any(Body)
    }

    /// Reads in one go: nothing of a hostile body is held in another form meanwhile.
    struct Body;

    impl<'de> Visitor<'de> for Body {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a body as an object or as base64")
        }

        fn visit_str<R: de::Error>(self, text: &str) -> Result<Vec<u8>, R> {
            super::base64::deserialize(StrDeserializer::new(text))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<u8>, A::Error> {
            Ok(SignalBody::deserialize(de::value::MapAccessDeserializer::new(map))?.encode_to_vec())
        }
    }
}
