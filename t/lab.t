#!/usr/bin/perl

# The lab itself, without anything of ours on the tailnet: both headscale
# lines, two real tailscaleds (one with a TUN, one in userspace mode), derper,
# web servers; the direct path, and DERP with UDP blocked.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/bench/lib";

use Config;
use Test::More;
use Time::HiRes qw(time);

use Bench::Usage;
use Tailnet::Lab;

Tailnet::Lab::require_or_skip();

my $begin = time();
my $page = "page of %s\n";


sub body {
    my ($node, $url) = @_;
    my $r = $node->wait_get($url);

    diag("$url: $r->{status} $r->{error}") if $r->{status} != 200;

    return $r->{body};
}


sub check {
    my ($version, $tls) = @_;
    my $lab = Tailnet::Lab->new;
    my $infra = $lab->host('infra');
    my $derper = $lab->derper(host => $infra);
    my $control = $lab->headscale(host => $infra, version => $version,
                                  tls => $tls, derp => [$derper]);
    my $key = $control->auth_key;
    my %node;

    for my $name (qw(tun user)) {
        my $host = $lab->host($name);

        my $web = $lab->nginx(host => $host,
            http => 'server { listen 80; listen [::]:80; }');
        $web->write('html/index.html', sprintf($page, $name));
        $web->start;

        $node{$name} = $lab->tailscaled(host => $host, tun => $name eq 'tun');
    }

    for my $name (qw(tun user)) {
        $node{$name}->up(control => $control, auth_key => $key);
    }

    my ($tun, $user) = @node{qw(tun user)};
    my $title = "headscale $version" . ($tls ? ' by https' : '');

    subtest $title => sub {
        like($tun->ip4, qr/^100\./, 'IPv4 address');
        like($tun->ip6, qr/^fd7a:/, 'IPv6 address');

        ok($tun->wait_peer('user'), 'TUN node sees the userspace node');
        ok($user->wait_peer('tun'), 'and the other way');
        ok(eval { $lab->wait_for(10, 'both', sub {
            2 == grep { $_->{online} } $control->nodes
        }) }, 'headscale lists both online');

        is(body($tun, 'http://user.lab.test/'),
           sprintf($page, 'user'), 'TUN to userspace by full name');
        is(body($tun, 'http://user/'),
           sprintf($page, 'user'), 'by short name');
        is(body($tun, 'http://[' . $user->ip6 . ']/'),
           sprintf($page, 'user'), 'by IPv6 address');
        is(body($user, 'http://tun.lab.test/'),
           sprintf($page, 'tun'), 'userspace to TUN');

        is($tun->wait_path('user', qr/direct/)->{path}, 'direct',
           'direct path');

        $tun->host->block_udp;

        is($tun->wait_path('user', qr/derp/)->{path}, 'derp-lab1',
           'DERP when UDP is blocked');
        is(body($tun, 'http://user/'), sprintf($page, 'user'),
           'page through DERP');

        $tun->host->unblock_udp;

        ok($tun->wait_path('user', qr/direct/, 20), 'direct again');
    };

    note(sprintf('%s: %.1f s', $title, time() - $begin));

    my $dir = $lab->dir;
    my $prefix = $lab->prefix;

    $lab->cleanup;

    ok(!-e $dir, 'the directory is gone');
    unlike(`ip netns list`, qr/^\Q$prefix\E/m, 'the namespaces are gone');
}


# What the bench counts: the time of a thread that has ended, too.

sub ended_threads {
    plan skip_all => 'this Perl has no threads' if !$Config{usethreads};

    require threads;

    my $used = sub {
        my $thread = shift;
        my $before = Bench::Usage::cpu("$$");
        my $x = 0;

        $thread ? threads->create(sub { $x++ for 1 .. 2e6 })->join
                : do { $x++ for 1 .. 2e6 };

        return Bench::Usage::cpu("$$") - $before;
    };

    my ($plain, $thread) = map { $used->($_) } 0, 1;

    cmp_ok($plain, '>', 0, "own loop: $plain s");
    cmp_ok($thread, '>', $plain / 4, "that of an ended thread: $thread s");
}


subtest 'CPU time' => \&ended_threads;
check(28, 0);
check(29, 1);

done_testing();
