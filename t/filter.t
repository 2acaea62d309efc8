#!/usr/bin/perl

# Our packet filter against Tailscale's own: rules and packets that are new in
# each run, judged by both.  A Go program makes them with upstream's verdicts
# (t/peers/filter), the unit test's program judges the same packets.
#
#   FILTER_SEED=n     repeats a run
#   FILTER_ROUNDS=n   sets of rules, 50 packets each (default 300)

use strict;
use warnings;

use File::Temp;
use FindBin;
use Test::More;

chdir "$FindBin::Bin/.." or BAIL_OUT("no repository: $!");

my $program = ($ENV{BUILD} || 'build') . '/t/unit/filter';
my $seed    = $ENV{FILTER_SEED}   || 1 + int rand 2**31;
my $rounds  = $ENV{FILTER_ROUNDS} || 300;

BAIL_OUT("make $program") unless -x $program;

my $bin = `t/peers/build --bin`;
chomp $bin;

my $judge = "$bin/filter_verdicts";

plan skip_all => 'the peers are not built' unless -x $judge;

my $dir = File::Temp->newdir;

is(system("$judge -seed $seed -rounds $rounds >$dir/verdicts.json"),
    0, "verdicts of upstream's filter, seed $seed");

cmp_ok(-s "$dir/verdicts.json", '>', 1000 * $rounds, 'there are some');

$ENV{FILTER_VECTORS} = "$dir/verdicts.json";

my @lines = split /\n/, `$program 2>&1`;
my @sets  = grep { /^(?:not )?ok \d+ - random \d+$/ } @lines;
my @bad   = grep { /^not ok/ } @lines;

is($?, 0, 'the judge ended well');
is(scalar @sets, $rounds, 'each set was judged');

ok(!@bad, 'by both filters alike')
    or diag("FILTER_SEED=$seed: ", join "\n", grep { /^# want|^not ok/ } @lines);

done_testing();
