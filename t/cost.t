#!/usr/bin/perl

# What a packet costs the core's own code, in instructions of a fixed trace
# (t/bench/cost.c), against a budget: times are too noisy to guard. Libraries
# (ciphers, libc) are not counted, nor is the kernel.
#
# When it fails after a change that is worth its price, the budget goes up in
# the same commit, and the commit says why.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use Test::More;

chdir "$FindBin::Bin/.." or BAIL_OUT("no repository: $!");

# Instructions per packet, both nodes' work together: sealed here, opened
# there. Measured with gcc 12 at -O2; other compilers get a tenth more or less.

my %BUDGET = (bulk => 3000, small => 2900, acks => 2800, mixed => 3000);

my $program = ($ENV{BUILD} // 'build') . '/t/bench/cost';
my $valgrind = (grep { -x } map { "$_/valgrind" } split /:/, $ENV{PATH})[0];

plan skip_all => 'valgrind is not installed' unless $valgrind;

ok(-x $program, "$program is built") or BAIL_OUT("make $program");

my $dir = tempdir(CLEANUP => 1);

for my $trace (sort keys %BUDGET) {
    my ($few, $many) = map { count($trace, $_) } 10, 60;
    my $cost = ($many->{cost} - $few->{cost})
        / ($many->{packets} - $few->{packets});

    cmp_ok($cost, '<=', $BUDGET{$trace},
           sprintf '%s: %.0f instructions a packet', $trace, $cost);

    # A budget that nobody could miss guards nothing.
    cmp_ok($cost, '>', $BUDGET{$trace} * 0.6, "$trace: the budget is near it");
}

done_testing();


# { cost, packets } of N rounds: instructions of lines that stand in core/.

sub count {
    my ($trace, $n) = @_;
    my $out = "$dir/$trace-$n";
    my $said = qx{$valgrind -q --tool=callgrind --callgrind-out-file=$out $program $trace $n 2>&1};

    is($?, 0, "$trace, $n rounds: all arrives") or diag($said);

    my ($packets) = $said =~ /^(\d+) packets/m;

    return { cost => core_cost($out), packets => $packets };
}


sub core_cost {
    my ($file) = @_;
    my ($sum, $in_core, $inclusive, %files) = (0, 0, 0);

    open my $f, '<', $file or BAIL_OUT("$file: $!");

    while (my $line = <$f>) {
        if ($line =~ /^(c?)f[lie]=\((\d+)\)(?: (.*))?$/) {
            $files{$2} = $3 if defined $3;
            $in_core = $files{$2} =~ m{(?:^|/)core/} if !$1;

        } elsif ($line =~ /^calls=/) {
            $inclusive = 1;     # the next line is the callee's

        } elsif ($line =~ /^[+*-]?\d* (\d+)$/) {
            $sum += $1 if $in_core && !$inclusive;
            $inclusive = 0;
        }
    }

    return $sum;
}
