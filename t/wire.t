#!/usr/bin/perl

# The wire emulator of the lab: each fault on its own, against what its
# statistics say and what two hosts see.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();

my $lab = Tailnet::Lab->new;

ok(-x $lab->build('t/wire'), 'build/t/wire is built')
    or BAIL_OUT('make build/t/wire');

# Sends numbered datagrams, 1 ms apart, and gets those that come back.

my $pinger = $lab->write_file($lab->path('pinger.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
use JSON::PP;
use Time::HiRes qw(time sleep);
my ($peer, $count, $size) = @ARGV;
my $s = IO::Socket::IP->new(PeerHost => $peer, PeerPort => 7,
                            Type => SOCK_DGRAM) or die;
my $select = IO::Select->new($s);
my (@sent, @order, @rtt);
my $take = sub {
    while ($select->can_read($_[0])) {
        recv($s, my $d, 2048, 0);
        my $n = unpack 'N', $d;
        next if $n == 0xffffffff;
        push @order, $n;
        push @rtt, (time() - $sent[$n]) * 1000;
    }
};
# Until the hosts know each other's MAC address nothing is on time.
for (1 .. 5) {
    send($s, pack('N', 0xffffffff), 0);
    last if $select->can_read(1);
}
for my $n (0 .. $count - 1) {
    $sent[$n] = time();
    send($s, pack('N', $n) . "x" x ($size - 4), 0);
    $take->(0.001);
}
$take->(@order < $count ? 2 : 0.5);
print encode_json({ order => \@order,
                    rtt => [sort { $a <=> $b } @rtt] });
PERL

my $echo = $lab->write_file($lab->path('echo.pl'), <<'PERL');
use strict;
use IO::Socket::IP;
my $s = IO::Socket::IP->new(LocalHost => '0.0.0.0', LocalPort => 7,
                            Type => SOCK_DGRAM) or die;
$| = 1;
print "ready\n";
while (my $from = recv($s, my $d, 2048, 0)) { send($s, $d, 0, $from) }
PERL

my $server = $lab->host('server');
$server->start('echo', ['perl', $echo])->wait_log(5, qr/ready/);

# A large page, to see the rate.

my $web = $lab->nginx(host => $server, http => 'server { listen 80; }');
$web->write('html/page', 'x' x 2_000_000);
$web->start;


sub echo {
    my ($host, $count, $size) = @_;
    my $out = $host->run('perl', $pinger, $server->ip4, $count, $size // 100);
    my $result = JSON::PP->new->decode($out);
    my %seen;

    $result->{late} = grep {
        $result->{order}[$_] < $result->{order}[$_ - 1]
    } 1 .. $#{$result->{order}};
    $result->{twice} = grep { $seen{$_}++ } @{$result->{order}};
    $result->{count} = keys %seen;
    $result->{median} = $result->{rtt}[@{$result->{rtt}} / 2];

    return $result;
}


my $clean = $lab->host('clean', wire => {});
my $r = echo($clean, 100);

is($r->{count}, 100, 'a wire without faults passes all');
is($r->{late} + $r->{twice}, 0, 'in order, once');
cmp_ok($r->{median}, '<', 20, 'at once');

$r = $clean->get('http://' . $server->ip4 . '/page');
is($r->{body}, 'x' x 2_000_000, 'TCP with unfinished checksums is intact');

my $stats = $lab->switch->wire_stats($clean);
is($stats->{from}{oversize} + $stats->{to}{oversize}, 0, 'nothing oversize');
cmp_ok($stats->{from}{received}, '>=', 100, 'statistics');
is($stats->{from}{sent} + $stats->{from}{in_flight},
   $stats->{from}{received}, 'what was received was sent');

$r = echo($lab->host('delay', wire => { delay => [20, 30] }), 20);
cmp_ok($r->{median}, '>=', 50, 'delay of both directions');
cmp_ok($r->{median}, '<', 75, 'and little more');

my $lossy = $lab->host('loss', wire => { loss => [20, 0], seed => 7 });
$r = echo($lossy, 500);
$stats = $lab->switch->wire_stats($lossy);
cmp_ok($r->{count}, '>', 350, 'loss: most come back');
cmp_ok($r->{count}, '<', 450, 'loss: a fifth does not');
cmp_ok($stats->{from}{lost}, '>=', 500 - $r->{count}, 'loss is counted');
is($stats->{to}{lost}, 0, 'loss in one direction only');

my $double = $lab->host('double', wire => { duplicate => [10, 0] });
$r = echo($double, 300);
is($r->{count}, 300, 'duplicates: all come back');
cmp_ok($r->{twice}, '>', 10, 'some twice');

$r = echo($lab->host('reorder', wire => { reorder => 10, hold => 10 }), 300);
is($r->{count}, 300, 'reordering: all come back');
cmp_ok($r->{late}, '>', 10, 'some late');

my $slow = $lab->host('slow', wire => { rate => 20, queue => 50 });
$r = $slow->get('http://' . $server->ip4 . '/page');
cmp_ok($r->{size} * 8 / $r->{time} / 1e6, '<', 20.5, 'rate');
cmp_ok($r->{size} * 8 / $r->{time} / 1e6, '>', 10, 'is used');
cmp_ok($lab->switch->wire_stats($slow)->{to}{queue_dropped}, '>', 0,
       'a finite queue');

done_testing();
