#!/usr/bin/perl

# t/tags.t once more, by the lwIP stack; less of it.

use strict;
use warnings;

use FindBin;

use Test::More;

plan skip_all => 'built without lwIP'
    if -e "$FindBin::Bin/../build/lwip.missing";

$ENV{TAILNET_STACK} = 'lwip';
$ENV{TAILNET_QUICK} = 1;

exec $^X, "-I$FindBin::Bin/lib", "$FindBin::Bin/tags.t" or die "exec: $!";
