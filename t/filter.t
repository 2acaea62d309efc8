#!/usr/bin/perl

# Our packet filter against Tailscale's own: rules and packets that are new in
# each run, judged by both.  A Go program makes them with upstream's verdicts
# (t/vectors/filter), the unit test's program judges the same packets.
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

my ($go) = grep { -x } map { "$_/go" } split(/:/, $ENV{PATH}),
    '/usr/local/go/bin', '/usr/lib/go/bin';

plan skip_all => 'no Go here' unless defined $go;

my $dir = File::Temp->newdir;

# the peers' build has most of the modules; what it lacks is fetched
my $built = system("cd t/vectors/filter && GOFLAGS=-mod=readonly"
    . " GOWORK=off CGO_ENABLED=0 nice $go build -o $dir/verdicts ."
    . " >$dir/log 2>&1");

if ($built) {
    my $log = `cat $dir/log`;

    BAIL_OUT($log) if $log =~ /main\.go:/;
    plan skip_all => "upstream's filter cannot be had: $log";
}

is(system("$dir/verdicts -seed $seed -rounds $rounds >$dir/verdicts.json"),
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
