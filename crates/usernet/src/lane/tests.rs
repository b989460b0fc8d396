//! The lane against a list of frames.

use super::*;
use proptest::prelude::*;

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat()
}

/// Reads as much of `bytes` as the lane has space for, at most `piece` bytes.
fn read(lane: &mut Lane, bytes: &mut &[u8], piece: usize) {
    let space = lane.space();
    let read = piece.min(bytes.len()).min(space.len());
    space[..read].copy_from_slice(&bytes[..read]);
    *bytes = &bytes[read..];
    lane.fill(read);
}

#[test]
fn a_frame_is_judged_only_when_it_is_whole() {
    let mut lane = Lane::new(0);
    let bytes = framed(b"hello");
    for at in 0..bytes.len() {
        let mut rest = &bytes[at..=at];
        read(&mut lane, &mut rest, 1);
        let mut judged = 0;
        lane.sift(|frame| {
            judged += 1;
            frame == b"hello"
        })
        .unwrap();
        assert_eq!(judged == 1, at == bytes.len() - 1);
        assert_eq!(lane.waiting().is_empty(), judged == 0);
    }
    assert_eq!(lane.waiting(), bytes);
}

#[test]
fn a_frame_that_is_too_long_ends_the_stream() {
    let mut lane = Lane::new(0);
    let longest = u32::try_from(MAX_FRAME).unwrap();
    read(&mut lane, &mut &longest.to_be_bytes()[..], 4);
    lane.sift(|_| true).unwrap();
    let mut lane = Lane::new(0);
    read(&mut lane, &mut &(longest + 1).to_be_bytes()[..], 4);
    assert_eq!(lane.sift(|_| true), Err(TooLong(longest + 1)));
}

#[test]
fn there_is_always_space_for_the_longest_frame_once_all_is_sent() {
    let mut lane = Lane::new(0);
    for _ in 0..3 {
        let bytes = framed(&vec![7; MAX_FRAME]);
        let mut rest = &bytes[..];
        read(&mut lane, &mut rest, bytes.len());
        assert!(rest.is_empty());
        lane.sift(|_| true).unwrap();
        assert!(lane.space().is_empty(), "it holds one of these");
        lane.drain(bytes.len());
    }
}

#[test]
fn a_batch_is_whole_frames_or_the_rest_of_one() {
    let mut lane = Lane::new(1 << 20);
    let bytes = [framed(&[1; 100]), framed(&[2; 100]), framed(&[3; 5000]), framed(&[4; 10])].concat();
    read(&mut lane, &mut &bytes[..], bytes.len());
    lane.sift(|_| true).unwrap();
    assert_eq!(lane.batch(210), &bytes[..208]);
    assert_eq!(lane.batch(207), &bytes[..104]);
    lane.drain(208);
    assert_eq!(lane.batch(210), &bytes[208..5212], "one longer frame");
    lane.drain(1000);
    assert_eq!(lane.batch(210), &bytes[1208..5212], "its rest, and nothing behind it");
    lane.drain(4004);
    assert_eq!(lane.batch(210), &bytes[5212..]);
    lane.drain(14);
    assert!(lane.batch(210).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Frames in any pieces, some taken out, some put in, sent in any pieces by either way: what leaves are the frames that
    /// passed, in their order, each with the injected ones somewhere between whole frames.
    #[test]
    fn whatever_the_pieces_whole_frames_leave_in_order(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3000), 1..60),
        steps in proptest::collection::vec((1usize..9000, 0usize..9000, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let passes = |frame: &[u8]| !frame[0].is_multiple_of(3);
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
        let mut rest = &bytes[..];
        let mut lane = Lane::new(0);
        let mut left = Vec::new();
        let mut injected = 0;
        let mut steps = steps.iter().cycle();
        while !rest.is_empty() || !lane.waiting().is_empty() {
            let &(piece, send, in_batches, inject) = steps.next().unwrap();
            read(&mut lane, &mut rest, piece);
            lane.sift(|frame| passes(frame)).unwrap();
            // Empty frames are nobody's but ours.
            if inject && injected < 50 && lane.inject(&[]) {
                injected += 1;
            }
            let waiting = if in_batches { lane.batch(4000) } else { lane.waiting() };
            let sent = send.min(waiting.len()).max(usize::from(!waiting.is_empty()));
            left.extend(&waiting[..sent]);
            lane.drain(sent);
        }
        let mut out = Vec::new();
        let mut at = &left[..];
        while let Some((header, behind)) = at.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*header)).unwrap();
            out.push(behind[..length].to_vec());
            at = &behind[length..];
        }
        let ours = out.extract_if(.., |frame| frame.is_empty()).count();
        prop_assert_eq!(ours, injected);
        let expected: Vec<_> = frames.into_iter().filter(|frame| passes(frame)).collect();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>, piece in 1usize..50) {
        let mut lane = Lane::new(0);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            read(&mut lane, &mut rest, piece);
            if lane.sift(|_| true).is_err() {
                break;
            }
            let sent = lane.batch(10).len();
            lane.drain(sent);
        }
    }
}
