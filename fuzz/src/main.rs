//! Prints the targets, one a line: name, and the largest input worth trying in bytes.

fn main() {
    for target in hongbao_hostile::TARGETS {
        println!("{} {}", target.name, target.input_bytes_max);
    }
}
