//! The simulator's command line.
use hongbao_sim::{plan::generate, trace::Trace, world::run};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let to: u64 = args[2].parse().unwrap();
    let verbose = args.len() > 3;
    let mut total = hongbao_sim::report::Stats::default();
    let mut bad = std::collections::BTreeMap::<String, Vec<(u64, String)>>::new();
    for seed in from..=to {
        let plan = generate(seed);
        let run = run(&plan, if verbose { Trace::verbose() } else { Trace::default() });
        if verbose {
            for line in run.trace.lines() { println!("{:>8} {}", line.at_ms, line.text); }
            println!("{:#?}", plan.options);
            println!("hash {:x} events {}", run.hash, run.events);
        }
        if let Some(v) = run.violation { bad.entry(v.invariant).or_default().push((seed, v.what)); }
        total.absorb(&run.stats);
    }
    println!("{total:#?}");
    for (k, v) in bad { println!("{k}: {} ", v.len()); for (s, w) in v.iter().take(6) { println!("   {s}: {}", &w[..w.len().min(400)]); } }
}
