//! Credit facts: what sinks were about to do, and did.

use std::collections::BTreeMap;

use hongbao_engine::records::Offset;
use hongbao_schemas::journal::{CreditFact, CreditStage};

use crate::report::{Invariant, Report};

use super::{Balance, CreditNote, Journal};

impl Journal {
    pub(super) fn credit(
        &mut self,
        (offset, epoch): (Offset, u32),
        fact: &CreditFact<'_>,
        report: &mut Report,
    ) {
        let at = self.at(offset);
        let (named, name) = (fact.ranges.total().cast_unsigned(), fact.lane);
        let Some(number) = self.find_lane(name) else {
            self.contradictions = self.contradictions.saturating_add(named);
            return report.find(Invariant::I9, format_args!("{at}: names orders of {name}, which has none"));
        };
        let (stage, at_ms, reason) = (fact.stage, fact.at_ms, self.text(fact.reason));
        let ranges =
            fact.ranges.iter().map(|range| (range.first().cast_unsigned(), range.end().cast_unsigned()));
        let ranges: Vec<(u64, u64)> = ranges.collect();
        for (first, end) in &ranges {
            let behind = self.lanes[number].orders.len() as u64 + 1;
            let unknown = end - (*end).min(behind.max(*first));
            if unknown > 0 {
                self.contradictions = self.contradictions.saturating_add(unknown);
                let last = end - 1;
                report.find(
                    Invariant::I9,
                    format_args!("{at}: {} of {name} {last}, never accepted", stage.as_str()),
                );
            }
            for seq in *first..(*end).min(behind) {
                self.credit_one((offset, epoch), (number, seq), (stage, at_ms), report);
            }
        }
        if stage != CreditStage::Started {
            report.checked(Invariant::I12, "outcomes", named);
        }
        self.lanes[number].facts.push(CreditNote { offset, at_ms, stage, reason, ranges });
    }

    fn credit_one(
        &mut self,
        (offset, epoch): (Offset, u32),
        (lane, seq): (usize, u64),
        (stage, at_ms): (CreditStage, i64),
        report: &mut Report,
    ) {
        let at = self.at(offset);
        let order = &mut self.lanes[lane].orders[seq as usize - 1];
        let before = order.ended;
        if let Err(fault) = order.follow(stage, at_ms, epoch) {
            report.find(fault.invariant, format_args!("{at} order {}: {}", order.order_no, fault.what));
            self.contradictions += u64::from(fault.is_void);
        }
        if before.is_some() || order.ended != Some(CreditStage::Credited) {
            return;
        }
        let amount = i128::from(order.amount_minor);
        if let Some(person) = self.people.get_mut(order.person_number) {
            let balance: &mut Balance = person.balance(&order.group.asset);
            balance.credited_minor += amount;
            let Balance { income_minor, credited_minor } = *balance;
            let is_there = (0..=income_minor).contains(&credited_minor);
            report.expect(
                Invariant::I16,
                is_there,
                format_args!("{at} order {}: credited {credited_minor} of {income_minor}", order.order_no),
            );
        }
        if let Some((_, sums)) = self.groups.get_mut(order.group_number) {
            let before = *sums;
            sums.credited_count += 1;
            sums.credited_minor += amount;
            let goes_on =
                sums.credited_minor >= before.credited_minor && sums.credited_count <= sums.accepted_count;
            report.expect(
                Invariant::I18,
                goes_on,
                format_args!("{at} order {}: totals went back", order.order_no),
            );
        }
        report.checked(Invariant::I9, "credits", 1);
        report.checked(Invariant::I18, "steps of totals", 1);
    }

    /// Wallets and totals, and the list of orders, are the same money (I15).
    pub(super) fn check_sums(&self, report: &mut Report) {
        let mut by_person: BTreeMap<&str, Balance> = BTreeMap::new();
        let mut by_total = by_person.clone();
        let mut by_order = by_person.clone();
        for (asset, balance) in self.people.iter().flat_map(|person| &person.balances) {
            add(&mut by_person, asset, balance.income_minor, balance.credited_minor);
        }
        for (group, sums) in &self.groups {
            add(&mut by_total, &group.asset, sums.accepted_minor, sums.credited_minor);
        }
        for order in self.orders() {
            let amount = i128::from(order.amount_minor);
            let is_credited = order.ended == Some(CreditStage::Credited);
            add(&mut by_order, &order.group.asset, amount, if is_credited { amount } else { 0 });
        }
        let partition = self.partition;
        report.expect(
            Invariant::I15,
            by_person == by_total && by_total == by_order,
            format_args!(
                "partition {partition}: wallets {by_person:?}, totals {by_total:?}, orders {by_order:?}"
            ),
        );
    }
}

fn add<'a>(sums: &mut BTreeMap<&'a str, Balance>, asset: &'a str, income_minor: i128, credited_minor: i128) {
    let sum = sums.entry(asset).or_default();
    sum.income_minor += income_minor;
    sum.credited_minor += credited_minor;
}
