#!/usr/bin/perl

# "stack auto" where there is no privilege at all: an ordinary user, no
# capability, a seccomp filter that refuses namespaces, no /dev/net/tun. nginx
# starts, is served and proxies by lwIP; and where the namespace becomes
# possible, a reload goes over to it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

plan skip_all => 'built without lwIP'
    if -e "$FindBin::Bin/../build/lwip.missing";

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};

$peer->host->start('echo', ['perl', '-e', <<'PERL']);
use IO::Socket::IP;
my $udp = IO::Socket::IP->new(LocalHost => '::', LocalPort => 7000,
    V6Only => 0, Proto => 'udp') or die $@;
while (my $from = $udp->recv(my $text, 65535)) {
    $udp->send("echo $text", 0, $from);
}
PERL


sub start {
    my ($name, %opt) = @_;
    my $nginx = $lab->nginx(host => $web, module => 1, name => $name,
                            user => 'www-data', tun => 0, %opt);

    # The default is what is tested.

    local $ENV{TAILNET_STACK};

    $nginx->configure(
        main => $nginx->tailnet_block($tailnet->{control},
                                      $tailnet->{auth_key},
                                      hostname => $name),
        http => <<'HTTP', stream => <<'STREAM');
        upstream peer { server peer:80 tailnet=home; }
        server {
            listen 80 tailnet=home;
            location = /addr { return 200 $remote_addr; }
        }
        server {
            listen 8000;
            location / { proxy_pass http://peer; }
        }
HTTP
        proxy_timeout 2s;
        upstream echo { server peer:7000 tailnet=home; }
        server { listen 5000 udp tailnet=home; proxy_pass echo; }
STREAM

    $lab->run('dd', 'if=/dev/urandom', 'of=' . $nginx->prefix . '/html/big',
              'bs=1M', 'count=20', 'status=none');

    $nginx->start;

    return $nginx;
}


sub exchange {
    my ($nginx, $name) = @_;
    my $copy = $lab->path('copy');

    my $self = eval { $peer->wait_peer($name, 20) };

    is($peer->wait_get("http://$name/addr", seconds => 20)->{body},
       $peer->ip4, 'the peer reaches nginx, which knows its address')
        or diag($nginx->error_log);

    $peer->get("http://$name/big", out => $copy, timeout => 60);
    is(system('cmp', '-s', $nginx->prefix . '/html/big', $copy), 0,
       'a download is byte-exact');

    my $r = $infra->wait_get('http://' . $web->ip4 . ':8000/', seconds => 10);
    is($r->{status}, 200, 'nginx reaches the peer') or diag($nginx->error_log);

    my ($ip) = grep { /\./ } @{$self->{TailscaleIPs} // []};
    my (undef, $reply) = $peer->host->capture('perl', '-MIO::Socket::IP', '-e',
        'my $s = IO::Socket::IP->new(Proto => "udp", PeerHost => shift,'
        . 'PeerPort => 5000); alarm 5; $s->send("hello"); '
        . '$s->recv(my $t, 100); print $t', $ip);
    is($reply, 'echo hello', 'UDP both ways');
}


subtest 'a container' => sub {
    my $nginx = start('box', confined => 1);

    exchange($nginx, 'box');

    my $status = $lab->read_file('/proc/' . $nginx->pid . '/status');
    like($status, qr/^CapBnd:\s+0+$/m, 'no capability can be had');
    like($status, qr/^Seccomp:\s+2$/m, 'a filter of system calls');

    my @notices = $nginx->errors(qr/\[notice\].*the stack is lwip/);
    is(scalar(@notices), 1, 'one notice')
        or diag($nginx->error_log);
    like($notices[0] // '', qr/\(.*(?:not permitted|namespace).*\)/,
         'it says why');
    is(join("\n", $nginx->errors(qr/\[(?:error|alert|emerg|crit)\]/)), '',
       'nothing else in the log');

    $nginx->reload;
    is($peer->wait_get('http://box/addr', seconds => 10)->{status}, 200,
       'served after a reload');
    is(scalar($nginx->errors(qr/\[notice\].*the stack is lwip/)), 1,
       'and no other notice');

    is($nginx->quit, 0, 'nginx quits');
    ok(eval { $lab->wait_for(5, 'the end', sub { !$web->pids }) },
       'nothing is left behind');
};

subtest 'and back' => sub {
    my $nginx = start('back');

    like($nginx->error_log, qr/\[notice\].*the stack is lwip.*tun/,
         'no TUN: lwip');
    is($peer->wait_get('http://back/addr', seconds => 20)->{status}, 200,
       'served');

    $nginx->make_tun;
    $nginx->reload;

    like($nginx->error_log, qr/has its own network namespace/,
         'a reload finds the kernel stack');
    exchange($nginx, 'back');

    is($nginx->quit, 0, 'nginx quits');
};

done_testing();
