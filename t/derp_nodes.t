#!/usr/bin/perl

# DERP servers that go away: a region of two real derpers in a mesh, and
# another region further away. Two of our nodes talk over DERP alone while a
# derper is killed, one is frozen, and a whole region is gone; a peer with a
# direct path notices nothing of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my %host = map { $_ => $lab->host($_) } qw(infra a b peer web app);
my @mesh = map { Tailnet::Lab::Derper::name('near', $_) } qw(a b);

$host{far} = $lab->host('far', wire => { delay => 30 });

for my $name (qw(a b)) {
    $lab->write_file('/etc/netns/' . $host{$name}->ns . '/hosts', <<"HOSTS");
127.0.0.1 localhost
@{[$host{a}->ip4]} $mesh[0]
@{[$host{b}->ip4]} $mesh[1]
HOSTS
}

my %derper = (
    a => $lab->derper(host => $host{a}, code => 'near', mesh => \@mesh),
    b => $lab->derper(host => $host{b}, code => 'near', mesh => \@mesh,
                      node => 'b'),
    far => $lab->derper(host => $host{far}, code => 'far', region => 902),
);

my $control = $lab->headscale(host => $host{infra},
                              derp => [@derper{qw(a b far)}]);
my $auth_key = $control->auth_key;

$host{web}->nft(<<"RULES");
table inet only_derp {
    chain out {
        type filter hook output priority 0;
        ip daddr @{[$host{app}->ip4]} drop
        ip6 daddr @{[$host{app}->ip6]} drop
    }
}
RULES

my $peer = $lab->tailscaled(host => $host{peer});
my %nginx;

$peer->up(control => $control, auth_key => $auth_key);

for my $name (qw(app web)) {
    my $other = $name eq 'web' ? 'app' : 'web';

    $nginx{$name} = $lab->nginx(host => $host{$name}, module => 1);
    $nginx{$name}->configure(
        main => $nginx{$name}->tailnet_block($control, $auth_key,
                                             hostname => $name),
        http => <<"HTTP");
        upstream other { server $other:80 tailnet=home; }
        server { listen 80 tailnet=home; }
        server {
            listen 8000;
            location / {
                proxy_pass http://other;
                proxy_connect_timeout 2s;
                proxy_read_timeout 2s;
            }
        }
HTTP
    $nginx{$name}->write('html/index.html', "page of $name\n");
    $nginx{$name}->start;
}

is($host{web}->wait_get('http://127.0.0.1:8000/', seconds => 30)->{body},
   "page of app\n", 'the two talk over DERP') or diag($nginx{web}->error_log);
$peer->wait_peer('web', 20);
ok(eval { $peer->wait_path('web', qr/direct/, 20) }, 'the peer directly');
is(home(), 901, 'home is the near region');

# Killed: the second node of the region, at once.

$derper{a}->process->signal('KILL');
recovers('a killed derper', 6);
like(connected(), qr/901 is connected: \Q$mesh[1]\E/, 'by the second node');
is(home(), 901, 'home stays');

# Frozen: it still takes connections, and answers to nothing.

$derper{a}->start;
$derper{b}->process->signal('STOP');
recovers('a frozen derper', 22);
like(connected(), qr/901 is connected: \Q$mesh[0]\E/, 'by the other node');
is(home(), 901, 'home stays');

# The region is gone: one killed, one frozen.

$derper{a}->process->signal('KILL');
recovers('a region without a derper', 25);
is(home(), 902, 'home is the far region');

$derper{b}->process->signal('CONT');

done_testing();


# Until web gets a page of app again; meanwhile the direct peer gets its own
# at once.

sub recovers {
    my ($what, $limit) = @_;
    my ($begin, $slowest, $seconds) = (time(), 0);

    # the first may still pass what is on its way

    sleep(0.3);

    while (time() - $begin < $limit + 10) {
        my $got = $host{web}->get('http://127.0.0.1:8000/', timeout => 3);

        $seconds = time() - $begin;

        my $direct = $peer->get('http://web/', timeout => 10);

        $slowest = $direct->{time}
            if !$direct->{ok} || $direct->{time} > $slowest;
        last if $got->{status} == 200;

        sleep(0.1);
    }

    cmp_ok($seconds, '<', $limit, "$what: they talk again within $limit s")
        or diag($nginx{web}->error_log, $nginx{app}->error_log);
    cmp_ok($slowest, '<', 2.5, 'and the direct peer is never blocked');
    note(sprintf 'after %.1f s', $seconds);
}


sub connected {
    my ($last) = reverse $nginx{web}->errors(qr/DERP region \d+ is connected/);
    return $last // '';
}


sub home {
    my ($last) = reverse $nginx{web}->errors(qr/home is DERP region/);
    my ($home) = ($last // '') =~ /home is DERP region (\d+)/;

    return $home // 0;
}
