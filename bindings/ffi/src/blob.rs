//! Bytes that cross as one copy. UniFFI writes and reads `Vec<u8>` byte by byte; this has the same form on the wire and the same type in
//! every language, and is copied whole.

/// Bytes; everything of more than a kilobyte that is no picture crosses as this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

// SAFETY: the form is that of `Vec<u8>` (a length of four bytes, big-endian, then the bytes), which `TYPE_ID_META` says, so that every
// generated reader and writer agrees with this one. The version of UniFFI is pinned; the test below compares both forms.
unsafe impl<UT> uniffi::FfiConverter<UT> for Blob {
    uniffi::ffi_converter_rust_buffer_lift_and_lower!(UT);

    fn write(blob: Self, buffer: &mut Vec<u8>) {
        // More than 2 GiB cannot be said; nothing here comes near.
        let length = i32::try_from(blob.0.len()).unwrap_or(0);
        buffer.reserve_exact(size_of::<i32>() + blob.0.len());
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(blob.0.get(..length as usize).unwrap_or_default());
    }

    fn try_read(buffer: &mut &[u8]) -> uniffi::Result<Self> {
        uniffi::check_remaining(buffer, size_of::<i32>())?;
        let (length, rest) = buffer.split_at(size_of::<i32>());
        // A negative length is a huge one, which the next check refuses.
        let length = i32::from_be_bytes(length.try_into()?) as usize;
        uniffi::check_remaining(rest, length)?;
        let (bytes, rest) = rest.split_at(length);
        *buffer = rest;
        Ok(Self(bytes.to_vec()))
    }

    const TYPE_ID_META: uniffi::MetadataBuffer = <Vec<u8> as uniffi::TypeId<UT>>::TYPE_ID_META;
}

uniffi::derive_ffi_traits!(impl<UT> Lift<UT> for Blob);
uniffi::derive_ffi_traits!(impl<UT> Lower<UT> for Blob);
uniffi::derive_ffi_traits!(impl<UT> LowerReturn<UT> for Blob);
uniffi::derive_ffi_traits!(impl<UT> LiftReturn<UT> for Blob);
uniffi::derive_ffi_traits!(impl<UT> TypeId<UT> for Blob);

impl From<bytes::Bytes> for Blob {
    fn from(bytes: bytes::Bytes) -> Self {
        Self(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UniFfiTag;

    type Plain = Vec<u8>;

    #[test]
    fn a_blob_looks_like_bytes_on_the_wire() {
        for length in [0, 1, 5_000] {
            let bytes: Plain = (0..length).map(|at| at as u8).collect();
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            <Blob as uniffi::FfiConverter<UniFfiTag>>::write(Blob(bytes.clone()), &mut ours);
            <Plain as uniffi::Lower<UniFfiTag>>::write(bytes.clone(), &mut theirs);
            assert_eq!(ours, theirs);
            let mut rest = ours.as_slice();
            let read = <Blob as uniffi::FfiConverter<UniFfiTag>>::try_read(&mut rest).expect("as written");
            assert_eq!((read.0, rest.len()), (bytes, 0));
        }
    }

    #[test]
    fn a_blob_that_lies_about_its_length_is_refused() {
        for mut wrong in [&[0, 0, 0][..], &[0, 0, 0, 2, 1], &[0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(<Blob as uniffi::FfiConverter<UniFfiTag>>::try_read(&mut wrong).is_err());
        }
    }
}
