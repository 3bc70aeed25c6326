//! Counts the allocations of each row, checks those of tower-vertex, and prints one line for each
//! row. A line has the id of the row and four counts:
//!
//! - a request with `Authorization`
//! - a request without that header
//! - a request with the header whose body the inner service reads
//! - a request with the header that a server has just read
//!
//! The bench `overhead` runs this program and shows its output.
//!
//! Only allocations between the check for readiness and the end of the response are counted, on the
//! third request of a service. The counts do not vary from run to run.

mod rows;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rows::{Authorization, Client, Middleware, NoOp, Reader, Row, Stage, Visitor, exchange};
use tower::Layer;

struct Count;

impl Visitor for Count {
    fn row(&mut self, row: Row, layer: impl Middleware) {
        let present = rows::request(row, Authorization::Present);
        let absent = rows::request(row, Authorization::Absent);
        let counts = [
            count(&mut Layer::<NoOp>::layer(&layer, NoOp), || present.clone()),
            count(&mut Layer::<NoOp>::layer(&layer, NoOp), || absent.clone()),
            count(&mut Layer::<Reader>::layer(&layer, Reader), || present.clone()),
            count(&mut Layer::<NoOp>::layer(&layer, NoOp), || {
                rows::fresh(present.uri().clone(), Authorization::Present)
            }),
        ];
        println!("{} {}", row.id(), counts.map(|count| count.to_string()).join(" "));
        let [present, _, read, just_read] = counts;
        match row {
            Row::Bare => assert_eq!(counts, [0; 4], "the baseline"),
            Row::Route => assert_eq!(counts, [0; 4], "{row:?}"),
            Row::AuthPlain | Row::BothPlain => {
                assert_eq!((present, read, just_read), (0, 0, 0), "{row:?}")
            }
            // One is the copy of the request head. The first clone of a body allocates its counter.
            Row::AuthReplay | Row::BothReplay => {
                assert_eq!((present, read, just_read), (1, 1, 2), "{row:?}")
            }
            Row::BaseUri | Row::StaticHeader | Row::Pair | Row::Naive => {}
        }
    }
}

fn count(service: &mut impl Client, request: impl Fn() -> Request<Full<Bytes>>) -> u64 {
    let mut last = 0;
    for _ in 0..3 {
        let request = request();
        last = allocation_counter::measure(|| exchange(service, request)).count_total;
    }
    last
}

fn main() -> Result<(), tower::BoxError> {
    Stage::set()?.visit(&mut Count);
    Ok(())
}
