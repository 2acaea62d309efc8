package Tailnet::Lab::Host;

# A host of the lab: a network namespace with an interface on the switch or on
# the LAN of a router, its own resolv.conf, and no route out of the lab.

use strict;
use warnings;

use Carp qw(croak);
use File::Path qw(make_path remove_tree);

use Tailnet::Lab::Process;


# What curl tells of a request. Not %{json}: that asks libldap for its
# version, which looks this host's name up, for seconds behind a router.

my @WRITE_OUT = qw(response_code time_total size_download num_connects
                   remote_ip);
my $WRITE_OUT = join ' ', map { "%{$_}" } @WRITE_OUT;


# new($lab, $name, wire => {...}, dns => '100.100.100.100',
#     search => 'lab.test', behind => $router)
#   wire: faults of its link, see Tailnet::Lab::Switch
#   dns, search: what resolv.conf says; by default the tailscaled of this host
#   behind: a Tailnet::Lab::Router

sub new {
    my ($class, $lab, $name, %opt) = @_;

    croak "host name $name is too long" if length $name > 10;

    my $self = bless {
        lab  => $lab,
        name => $name,
        ns   => $lab->prefix . $name,
    }, $class;

    my $router = $opt{behind};
    my $switch = $router ? $router->lan : $lab->switch;
    my ($v4, $v6) = $switch->next_addresses;

    $self->{behind} = $router;
    $self->{ip4} = $v4 =~ s{/.*}{}r;
    $self->{ip6} = $v6 =~ s{/.*}{}r if defined $v6;

    # What "ip netns exec" lays over /etc in this namespace.

    my $etc = "/etc/netns/$self->{ns}";
    make_path($etc);
    $lab->write_file("$etc/resolv.conf", sprintf(
        "nameserver %s\nsearch %s\noptions timeout:2 attempts:2\n",
        $opt{dns} // '100.100.100.100', $opt{search} // 'lab.test'));
    $lab->write_file("$etc/hosts",
                     "127.0.0.1 localhost\n::1 localhost\n");

    $lab->run('ip', 'netns', 'add', $self->{ns});
    $self->ip('link', 'set', 'lo', 'up');
    $switch->plug($self, dev => 'eth0', wire => $opt{wire});
    $self->ip('addr', 'add', $v4, 'dev', 'eth0');
    $self->ip('addr', 'add', $v6, 'dev', 'eth0', 'nodad') if defined $v6;
    $self->ip('link', 'set', 'eth0', 'up');
    $self->set_routes;

    return $self;
}


# The routes that go with the link; the kernel forgets them when it is down.

sub set_routes {
    my ($self) = @_;
    my $router = $self->{behind};

    if (!$router) {
        $self->ip('-6', 'route', 'replace', $_->{to}, 'via', $_->{via})
            for grep { $_->{router} != $self } @{$self->{lab}{routes} // []};
        return;
    }

    $self->ip('route', 'replace', 'default', 'via', $router->lan_ip4);
    $self->ip('-6', 'route', 'replace', 'default', 'via', $router->lan_ip6)
        if $router->lan_ip6;
}


sub name { return $_[0]{name} }
sub ns { return $_[0]{ns} }
sub ip4 { return $_[0]{ip4} }
sub ip6 { return $_[0]{ip6} }


# "ip ..." in this namespace; dies if it fails.

sub ip {
    my ($self, @args) = @_;
    return $self->{lab}->run('ip', '-n', $self->{ns}, @args);
}


# The command line that runs a command here, to show to a person or to run.

sub command {
    my ($self, @command) = @_;
    return ('ip', 'netns', 'exec', $self->{ns}, @command);
}


# Runs a command here to its end, returns its output, dies if it fails.

sub run {
    my ($self, @command) = @_;
    return $self->{lab}->run($self->command(@command));
}


# (exit status, output)

sub capture {
    my ($self, @command) = @_;
    return Tailnet::Lab::capture($self->command(@command));
}


# Starts a long-running process; see Tailnet::Lab::Process.

sub start {
    my ($self, $name, $command, %opt) = @_;
    return Tailnet::Lab::Process->start($self->{lab}, $self, $name, $command,
                                        %opt);
}


# One HTTP request by curl. Options: method, headers => [...], body, timeout
# (10 s), proxy, cacert, resolve, out (a file for the body), args => [...].
# Returns { ok, status, body, headers, error, time, size, ip, conns }.

sub get {
    my ($self, $url, %opt) = @_;
    my $lab = $self->{lab};
    my $tmp = $lab->path("http-$$-" . ++$lab->{requests});
    my @args = ('curl', '-sS', '-g', '-D', "$tmp.head",
                '-o', $opt{out} // "$tmp.body",
                '-m', $opt{timeout} // 10,
                '-w', "\n$WRITE_OUT");

    push @args, '-X', $opt{method} if $opt{method};
    push @args, '-x', $opt{proxy} if $opt{proxy};
    push @args, '--cacert', $opt{cacert} if $opt{cacert};
    push @args, '--resolve', $opt{resolve} if $opt{resolve};
    push @args, '--data-binary', $opt{body} if defined $opt{body};
    push @args, map { ('-H', $_) } @{$opt{headers} // []};
    push @args, @{$opt{args} // []}, $url;

    my ($code, $output) = $self->capture(@args);
    my ($error, $said) = $output =~ /^(.*)\n(.*)$/s;
    my %info;

    @info{@WRITE_OUT} = split / /, $said // '';

    my %result = (
        ok      => $code == 0,
        status  => ($info{response_code} || 0) + 0,
        body    => $opt{out} ? '' : $lab->read_file("$tmp.body"),
        headers => $lab->read_file("$tmp.head"),
        error   => $code ? ($error // $output) : '',
        time    => $info{time_total},
        size    => $info{size_download},
        ip      => $info{remote_ip},
        conns   => $info{num_connects},
    );

    unlink "$tmp.head", "$tmp.body";
    $result{error} =~ s/\s+$//;

    return \%result;
}


# The same until it is answered with this status: a control server tells the
# nodes of each other one after the other, and a node whose packet filter does
# not yet know the other refuses it. Returns the last result in any case.

sub wait_get {
    my ($self, $url, %opt) = @_;
    my $seconds = delete $opt{seconds} // 15;
    my $status = delete $opt{status} // 200;
    my $result;

    eval {
        $self->{lab}->wait_for($seconds, $url, sub {
            $result = $self->get($url, timeout => 3, %opt);
            return $result->{ok} && $result->{status} == $status;
        });
    };

    return $result;
}


# Does something here accept TCP connections on this port (of this address)?

sub accepts {
    my ($self, $port, $addr) = @_;
    my ($code) = $self->capture('bash', '-c',
        sprintf('exec 3<>/dev/tcp/%s/%d', $addr // '127.0.0.1', $port));

    return $code == 0;
}


# The certificate that a TLS server of this host shows for a name, as PEM; ''
# when it shows none.

sub certificate {
    my ($self, $port, $name) = @_;
    my (undef, $text) = $self->capture('sh', '-c',
        "openssl s_client -servername $name -connect 127.0.0.1:$port "
        . '</dev/null 2>/dev/null');

    return $text =~ /(-----BEGIN CERT.*?-----END CERTIFICATE-----\n)/s
        ? $1 : '';
}


# Drops every UDP packet between this host and the switch, or no longer.

sub block_udp {
    my ($self) = @_;

    $self->nft(<<'RULES');
table inet lab_udp {
    chain in  { type filter hook input priority 0;
                iifname "eth0" meta l4proto udp drop; }
    chain out { type filter hook output priority 0;
                oifname "eth0" meta l4proto udp drop; }
}
RULES
}


sub unblock_udp {
    my ($self) = @_;
    $self->nft('delete table inet lab_udp');
}


# Has nft read these rules here.

sub nft {
    my ($self, $rules) = @_;
    my $lab = $self->{lab};

    $self->run('nft', '-f',
               $lab->write_file($lab->path("$self->{name}.nft"), "$rules\n"));
}


# Everything that runs here. Where nginx has the host to itself: master,
# workers, supervisor and core, but not the holders of its private namespaces.

sub pids {
    my ($self) = @_;
    return split ' ', `ip netns pids $self->{ns} 2>/dev/null`;
}


# Those of this name, as the kernel shows it: processes('tailnet-core'). With
# the holders, which are children of what runs here.

sub processes {
    my ($self, $name) = @_;
    my $lab = $self->{lab};
    my %pids = map { $_ => 1 } map {
        ($_, split ' ', $lab->read_file("/proc/$_/task/$_/children"))
    } $self->pids;

    return grep { $lab->read_file("/proc/$_/comm") eq "$name\n" }
        sort { $a <=> $b } keys %pids;
}


# For the lab, at its end.

sub delete {
    my ($self) = @_;

    Tailnet::Lab::capture('ip', 'netns', 'del', $self->{ns});
    remove_tree("/etc/netns/$self->{ns}");
    rmdir '/etc/netns';
}


1;
