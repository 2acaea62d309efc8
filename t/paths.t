#!/usr/bin/perl

# How packets travel between nginx and a tailscaled: direct on one network,
# over DERP while UDP is blocked, with TLS or (in a lab) without, and direct
# again. Each control server in turn: headscale 0.29 by TLS, testcontrol.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();


sub node {
    my (%opt) = @_;
    my $blocked = delete $opt{blocked};
    my $lab = Tailnet::Lab->new;
    my $tailnet = $lab->small_tailnet(%opt);
    my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1);

    $tailnet->{web}->block_udp if $blocked;
    $nginx->configure(
        main => $nginx->tailnet_block($tailnet->{control},
                                      $tailnet->{auth_key}),
        http => <<'HTTP');
        upstream peer { server peer:80 tailnet=home; }
        server { listen 80 tailnet=home; }
        server { listen 8000; location / { proxy_pass http://peer; } }
HTTP
    $nginx->write('html/index.html', "page\n");
    $nginx->start;
    $tailnet->{peer}->wait_peer('web', 20);

    return ($lab, $tailnet, $nginx);
}


sub both_ways {
    my ($tailnet, $nginx, $name, $seconds) = @_;
    my $begin = time();

    is($tailnet->{peer}->wait_get('http://web/', seconds => $seconds)->{body},
       "page\n", "$name: the peer reaches nginx")
        or diag($nginx->error_log);
    note(sprintf 'after %.1f s', time() - $begin);

    is($tailnet->{infra}->wait_get(
           'http://' . $tailnet->{web}->ip4 . ':8000/', seconds => $seconds)
           ->{status}, 200, "$name: nginx reaches the peer")
        or diag($nginx->error_log);
}


sub path_is {
    my ($tailnet, $regex, $seconds, $name) = @_;
    my $begin = time();
    my $got = eval { $tailnet->{peer}->wait_path('web', $regex, $seconds) };

    ok($got, $name) or diag($@);
    note(sprintf 'after %.1f s', time() - $begin);
}


subtest 'headscale 0.29 by TLS' => sub {
    my ($lab, $tailnet, $nginx) = node(headscale => 29, tls => 1);

    both_ways($tailnet, $nginx, 'first', 15);
    path_is($tailnet, qr/direct/, 10, 'the path is direct within 10 s');

    $tailnet->{web}->block_udp;
    both_ways($tailnet, $nginx, 'UDP blocked', 20);
    path_is($tailnet, qr/derp/i, 10, 'the path is DERP');

    my $size = 10 * 1024 * 1024;
    $lab->run('dd', 'if=/dev/urandom', 'of=' . $nginx->prefix . '/html/big',
              'bs=1M', 'count=10', 'status=none');
    is($tailnet->{peer}->get('http://web/big', timeout => 60)->{size}, $size,
       '10 MB over DERP');

    $tailnet->{web}->unblock_udp;
    path_is($tailnet, qr/direct/, 60, 'direct again when UDP is open');
    both_ways($tailnet, $nginx, 'UDP open', 10);

    my ($node) = $tailnet->{control}->node('web');
    ok($node && $node->{online}, 'headscale has the node online');
};

subtest 'UDP blocked from the start' => sub {
    my ($lab, $tailnet, $nginx) = node(blocked => 1);

    both_ways($tailnet, $nginx, 'DERP only', 25);
    path_is($tailnet, qr/derp/i, 10, 'the path is DERP');
};

subtest 'testcontrol' => sub {
    my ($lab, $tailnet, $nginx) = node(testcontrol => 1);

    both_ways($tailnet, $nginx, 'first', 15);
    path_is($tailnet, qr/direct/, 10, 'the path is direct within 10 s');

    my ($node) = grep { ($_->{Hostinfo}{Hostname} // '') eq 'web' }
        $tailnet->{control}->nodes;

    ok($node, 'control has the node') or return;
    cmp_ok($node->{HomeDERP} // 0, '>', 0, 'with a home DERP region');
    cmp_ok(scalar @{$node->{Endpoints} // []}, '>', 0, 'and endpoints');
};

done_testing();
