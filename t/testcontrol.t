#!/usr/bin/perl

# The lab with tailscale's testcontrol: its admin port against two real
# tailscaleds, and DERP by plain http.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();

my $lab = Tailnet::Lab->new;
my $infra = $lab->host('infra');
my $derper = $lab->derper(host => $infra, tls => 0);
my $control = $lab->testcontrol(host => $infra, derp => [$derper],
                                auth_key => 'tskey-lab');
my %node;

for my $name (qw(one two)) {
    my $host = $lab->host($name);

    my $web = $lab->nginx(host => $host,
                          http => 'server { listen 80; listen [::]:80; }');
    $web->write('html/index.html', "page of $name\n");
    $web->start;

    $node{$name} = $lab->tailscaled(host => $host, derp_http => 1);
}

my ($one, $two) = @node{qw(one two)};

$one->up(control => $control);

$two->up(control => $control);

# A tailscaled of its own: one that was refused may tell the next "up" of the
# refusal of the last.

my $wrong = $lab->tailscaled(host => $lab->host('wrong'), derp_http => 1);
my ($status, $output) = $wrong->try_cli('up', '--login-server', $control->url,
    '--auth-key', 'wrong', '--timeout=60s', '--hostname=wrong',
    '--accept-dns=false', '--netfilter-mode=off');
isnt($status, 0, 'a wrong auth key is refused');
like($output, qr/invalid authkey/, 'and the refusal is said');

is($control->call(GET => '/status')->{Nodes}, 2, 'two nodes');
is(scalar($control->nodes), 2, 'listed');

$lab->wait_for(10, 'endpoints and home DERP of the nodes', sub {
    2 == grep { @{$_->{Endpoints} // []} && $_->{HomeDERP} } $control->nodes
});

my $n = $control->node('one');
like("@{$n->{Endpoints}}", qr/\b\Q@{[$one->host->ip4]}\E:\d+/, 'an endpoint');
is($n->{HomeDERP}, $derper->region, 'home DERP');
is($n->{Name}, 'one.lab.test.', 'MagicDNS name');

$one->wait_peer('two');
is($one->wait_get('http://two.lab.test/')->{body}, "page of two\n", 'a page');
is($one->wait_path('two', qr/direct/)->{path}, 'direct', 'direct path');

$two->host->block_udp;
is($one->wait_path('two', qr/derp/)->{path}, 'derp-lab1',
   'DERP by plain http');
$two->host->unblock_udp;

# The admin port.

$control->call(POST => '/dns', [
    { Name => 'extra.lab.test', Value => '100.64.0.2' }]);
$control->call(POST => "/node?node=$n->{Key}", { Tags => ['tag:one'] });
$lab->wait_for(10, 'the tag to be seen', sub {
    "@{$two->peer('one')->{Tags} // []}" eq 'tag:one'
});
pass('/node changes a node for its peers');

is($one->wait_get('http://extra.lab.test/')->{body}, "page of two\n",
   '/dns adds a record');

my $answer = $control->call(POST => "/c2n?node=$n->{Key}",
    "POST /echo HTTP/1.1\r\nHost: node\r\nContent-Length: 2\r\n\r\nhi");
is_deeply($answer, { Status => 200, Body => 'hi' }, '/c2n');

$control->call(POST => "/raw-map?node=$n->{Key}",
               { PeersRemoved => [$control->node('two')->{ID}] });
$lab->wait_for(10, 'the peer to go', sub { !$one->peer('two') });
pass('/raw-map');

ok(!eval { $control->call(POST => '/raw-map?node=rubbish', {}) },
   'a bad node key is refused');

$control->call(POST => '/expire-all?on=1');
$lab->wait_for(10, 'the expiry to be seen', sub {
    $two->status->{BackendState} ne 'Running'
});
pass('/expire-all');

done_testing();
