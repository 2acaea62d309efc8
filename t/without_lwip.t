#!/usr/bin/perl

# Where lwIP's source cannot be fetched the core is built without it: what
# stands in for it has all that the rest of the core calls.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use Test::More;

chdir "$FindBin::Bin/.." or BAIL_OUT("no repository: $!");

my $build = $ENV{BUILD} || 'build';
my $dir = tempdir(CLEANUP => 1);
my @objects = map { s/c$/o/r } glob 'core/data/tn_lwnet*.c';

is(system('make', '-s', 'LWIP=/nonexistent', "BUILD=$dir",
          map { "$dir/obj/$_" } @objects),
   0, 'the net is built without lwIP');

my %here = symbols('[TDBR]', map { "$dir/obj/$_" } @objects);
my %wanted = symbols('U', map({ "$dir/obj/$_" } @objects),
                     grep { !m{/data/tn_lwnet|/stack/tn_lwip|/obj/lwip/}
                            && -e s{^.*/obj/(.*)o$}{$1c}r }
                     split /\n/, `find $build/obj -name '*.o'`);

my @missing = grep { /^(?:tn_)?lw(?:ip|net)_/ && !$here{$_} }
              sort keys %wanted;

ok($wanted{tn_lwnet_create}, 'the core asks for a net');
is("@missing", '', 'and nothing is missing');

done_testing();


sub symbols {
    my ($type, @files) = @_;

    return map { /^(?:[0-9a-f]+)? +$type (\S+)$/ ? ($1 => 1) : () }
           split /\n/, `nm @files`;
}
